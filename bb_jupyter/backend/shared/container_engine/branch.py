"""A Docker bottle's files, held as an image: what other bottles start with.

The image has no name, so that it goes with the last container that runs it: each bottle tries to remove it at its end,
and the engine refuses as long as another one uses it.  What a killed kernel left is found by the image's labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import docker
from docker.errors import APIError, NotFound

from bb_jupyter.backend.bottle import branch_plan
from bb_jupyter.backend.plan import Orphan
from bb_jupyter.backend.shared.container_engine import engine, labels
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.container_engine.labels import Labelled
from bb_jupyter.backend.shared.serial_executor import run_to_completion
from bb_jupyter.errors import BottleGone


@contextmanager
def snapshot(client: docker.APIClient, plan: ContainerBottlePlan) -> Iterator[ContainerBottlePlan]:
    """Hold the files of the bottle of *plan*; see `Bottle.snapshot`."""
    image = run_to_completion(lambda: _commit(client, plan), undo=lambda made: remove_image(client, made))
    try:
        yield replace(branch_plan(plan), snapshot=image, image_id=image)
    finally:
        remove_image(client, image)


def _commit(client: docker.APIClient, plan: ContainerBottlePlan) -> str:
    with engine.errors(f"branch bottle '{plan.spec.name}'"):
        try:
            made = client.commit(plan.container, pause=True, conf={"Labels": labels.of_plan(plan, labels.SNAPSHOT)})
        except NotFound:
            raise BottleGone(f"bottle '{plan.spec.name}' is gone") from None
    return str(made["Id"])


def remove_image(client: docker.APIClient, image: str) -> None:
    """Remove the image of a snapshot unless a container, or an image made of it, needs it still; idempotent.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    with engine.errors(f"remove image {image[:19]}"):
        try:
            client.remove_image(image)
        except APIError as error:
            # 20.10 answers 500 for an image that somebody else removes at the same time.
            gone = error.status_code == 404 or "unrecognized image ID" in str(error)
            if not gone and error.status_code != 409:
                raise


def orphans(client: docker.APIClient) -> list[Orphan]:
    """Return the images of snapshots whose owner is dead, the latest first: it may be made of an earlier one.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    with engine.errors("list images"):
        found = client.images(filters=labels.mine(role=labels.SNAPSHOT))
    known = [Labelled.of({**image, "State": ""}) for image in found]
    dead = [image for image in known if image and not image.owner.alive]
    dead.sort(key=lambda image: image.created, reverse=True)
    return [Orphan(image.slug, "image", image.id) for image in dead]
