"""Attach to a kept bottle: its plan is read back from its record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bb_jupyter.backend import state
from bb_jupyter.backend.shared.guest_user import guest_user
from bb_jupyter.backend.shared.labels import mine
from bb_jupyter.backend.shared.network import NO_GATEWAY
from bb_jupyter.backend.smolmachines import enumerate, labels, sdk
from bb_jupyter.backend.smolmachines.bottle import SmolmachinesBottle
from bb_jupyter.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan, machine_name
from bb_jupyter.backend.smolmachines.egress_interceptor import Interceptor
from bb_jupyter.backend.smolmachines.prepare import plan_limits
from bb_jupyter.backend.spec import BottleSpec
from bb_jupyter.broker.broker_plan import GitGatePlan, SupervisePlan
from bb_jupyter.errors import BottleError, BottleGone
from bb_jupyter.gateway.egress_plan import EgressPlan
from bb_jupyter.manifest import BottleManifest, Limits
from bb_jupyter.process import deferred_interrupts


@contextmanager
def attach(slug: str) -> Iterator[SmolmachinesBottle]:
    """Yield the running bottle *slug*; it runs on afterwards.

    A local machine gets an egress interceptor at the address that it was started with, and a gateway with the latest
    policy.

    Raises:
        BottleGone: it has ended.
        BackendUnavailable: the SDK or the cloud does not answer.
    """
    from smol import Machine

    record = next((record for record in enumerate.records() if record.slug == slug), None)
    if record is None or record.details.get("target") not in ("local", "cloud"):
        raise sdk.gone(slug)
    connection = sdk.connection(record.details["target"])
    with sdk.errors(f"look for bottle {slug}", name=record.name):
        found = [each for each in Machine.list(connection, mine(slug)) if each.name == machine_name(slug)]
        if not found or found[0].state not in sdk.ALIVE:
            raise sdk.gone(record.name)
        machine = Machine.open(found[0].id, connection)
    plan = _plan(record, record.details["attach"])
    with deferred_interrupts.UninterruptibleExitStack() as stack:
        interceptor = Interceptor.reopen(slug) if plan.target == "local" else None
        if interceptor:
            stack.callback(interceptor.close)
        bottle = SmolmachinesBottle(plan, machine, interceptor)
        stack.callback(bottle.broker.close)
        stack.callback(bottle.network.close)
        if interceptor and plan.egress_plan is not None:
            _open(bottle, plan.egress_plan)
        bottle.broker.adopt(reached=False)
        yield bottle


def _open(bottle: SmolmachinesBottle, routes: EgressPlan) -> None:
    """Start the gateway.  If it does not start (such as without a credential), the bottle is attached without one."""
    try:
        bottle.network.open(routes)
        bottle.trust_gateway()
    except BottleGone:
        raise
    except BottleError:
        bottle.network.close()
        state.add_details(bottle.slug, state=NO_GATEWAY)


def _plan(record: state.BottleRecord, wanted: dict[str, object]) -> SmolmachinesBottlePlan:
    limits = Limits.model_validate(wanted["limits"])
    image, user = str(wanted["image"]), str(wanted["user"])
    env = wanted["env"]
    spec = BottleSpec(
        name=record.name,
        backend=labels.BACKEND,
        backend_reason="it runs there",
        manifest=BottleManifest(name=record.bottle),
        image=image,
        cwd=str(wanted["cwd"]),
        user=user,
        limits=limits,
        keep=True,
    )
    return SmolmachinesBottlePlan(
        spec=spec,
        slug=record.slug,
        stage_dir=record.directory / "stage",
        root=f"image {image}",
        user=f"{user or 'agent'} in a virtual machine of its own",
        limits=plan_limits(limits),
        env={str(name): str(value) for name, value in env.items()} if isinstance(env, dict) else {},
        target=record.details["target"],
        machine=machine_name(record.slug),
        image=image,
        machine_user=guest_user(user),
        egress_plan=EgressPlan.from_dict(routes) if (routes := record.details.get("egress")) else None,
        git_gate_plan=GitGatePlan.from_dict(gate) if (gate := record.details.get("git_gate")) else None,
        supervise_plan=SupervisePlan(**asked) if (asked := record.details.get("supervise")) else None,
    )
