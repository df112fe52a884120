"""A bottle's files, held as an image: what other bottles start with.

The image has no name, so that it goes with the last container that runs it: each bottle tries to remove it at its end,
and the engine refuses as long as another one uses it.  What a killed kernel left is found by the image's labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from docker.errors import NotFound

from bb_jupyter.backend.bottle import branch_plan
from bb_jupyter.backend.plan import Orphan
from bb_jupyter.backend.shared.container_engine import labels
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.backend.shared.container_engine.labels import Labelled
from bb_jupyter.backend.shared.serial_executor import run_to_completion
from bb_jupyter.errors import BottleGone


@contextmanager
def snapshot(engine: Engine, plan: ContainerBottlePlan) -> Iterator[ContainerBottlePlan]:
    """Hold the files of the bottle of *plan*; see `Bottle.snapshot`."""
    image = run_to_completion(lambda: _commit(engine, plan), undo=engine.remove_image)
    try:
        yield replace(branch_plan(plan), snapshot=image, image_id=image)
    finally:
        engine.remove_image(image)


def _commit(engine: Engine, plan: ContainerBottlePlan) -> str:
    with engine.errors(f"branch bottle '{plan.spec.name}'"):
        try:
            made = engine.client.commit(plan.container, pause=engine.can_pause, changes=labels.of_snapshot(plan))
        except NotFound:
            raise BottleGone(f"bottle '{plan.spec.name}' is gone") from None
    return "sha256:" + str(made["Id"]).removeprefix("sha256:")


def orphans(engine: Engine) -> list[Orphan]:
    """Return the images of snapshots whose owner is dead, the latest first: it may be made of an earlier one.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    with engine.errors("list images"):
        found = engine.client.images(filters=labels.mine(role=labels.SNAPSHOT))
    known = [Labelled.of({**image, "State": ""}) for image in found]
    dead = [image for image in known if image and not image.owner.alive]
    dead.sort(key=lambda image: image.created, reverse=True)
    return [Orphan(image.slug, "image", image.id) for image in dead]
