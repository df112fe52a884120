"""Hold a kept bottle again: its plan is read back from its container."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from docker.errors import NotFound

from bb_jupyter.backend import state
from bb_jupyter.backend.shared.container_engine import labels
from bb_jupyter.backend.shared.container_engine.bottle import ContainerBottle
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan, container_name
from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.backend.shared.container_engine.execution import gone
from bb_jupyter.backend.shared.container_engine.prepare import plan_limits, user_in_words
from bb_jupyter.backend.shared.labels import get
from bb_jupyter.backend.spec import BottleSpec
from bb_jupyter.broker.broker_plan import GitGatePlan, SupervisePlan
from bb_jupyter.gateway.egress_plan import EgressPlan
from bb_jupyter.manifest import BottleManifest, Limits


@contextmanager
def attach(engine: Engine, slug: str) -> Iterator[ContainerBottle]:
    """Yield the bottle *slug*; it runs on afterwards.

    One that a restart of its engine stopped is started again: its files are there, its processes and its gateway not.

    Raises:
        BottleGone: it does not exist any more.
        BackendUnavailable: the engine does not answer, or does not start it.
    """
    with engine.errors(f"look for bottle {slug}"):
        try:
            found = engine.client.inspect_container(container_name(slug))
        except NotFound:
            raise gone(slug) from None
        told = found["Config"]["Labels"]
        if not labels.is_mine(told):
            raise gone(slug)
        engine.client.start(found["Id"])  # nothing happens where it runs
    bottle = ContainerBottle(_plan(engine, slug, found, told), engine)
    if bottle.plan.egress_plan is not None:
        bottle.network.adopt(bottle.gateways.find, bottle.plan.egress_plan)
    # What serves a network that ended with the bottle's processes, serves nobody.
    bottle.broker.adopt(reached=bottle.relay.found() and found["State"]["Running"])
    try:
        yield bottle
    finally:
        bottle.broker.release()
        bottle.network.release()


def _plan(engine: Engine, slug: str, found: Mapping[str, Any], told: Mapping[str, str]) -> ContainerBottlePlan:
    wanted = json.loads(get(told, "spec"))
    details = next((record.details for record in state.records() if record.slug == slug), {})
    limits = Limits(**wanted["limits"])
    spec = BottleSpec(
        name=get(told, "name"),
        backend=engine.backend,
        backend_reason="it runs there",
        manifest=BottleManifest(name=get(told, "bottle")),
        image=wanted["image"],
        cwd=wanted["cwd"],
        user=wanted["user"],
        limits=limits,
        keep=True,
    )
    return ContainerBottlePlan(
        spec=spec,
        slug=slug,
        stage_dir=state.state_dir() / slug / "stage",
        root=f"image {wanted['image']} ({get(told, 'base').removeprefix('sha256:')[:12]})",
        user=user_in_words(spec.user),
        limits=plan_limits(limits, engine.info),
        image=wanted["image"],
        image_id=get(told, "base"),
        container=container_name(slug),
        container_user=found["Config"]["User"],
        egress_plan=EgressPlan.from_dict(details["egress"]) if "egress" in details else None,
        git_gate_plan=GitGatePlan.from_dict(gate) if (gate := details.get("git_gate")) else None,
        supervise_plan=SupervisePlan(**asked) if (asked := details.get("supervise")) else None,
    )
