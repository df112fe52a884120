"""The image of a machine: the cloud takes a name in a registry, this host a docker-archive or a root file system.

A local machine has no network to pull an image.  So a container engine pulls the image or builds it from its
Dockerfile, and the result is saved, once for the same content.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bb_jupyter.backend import registry
from bb_jupyter.backend.base import OnProgress, Progress
from bb_jupyter.backend.shared.container_engine.backend import ContainerBackend
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from bb_jupyter.backend.smolmachines.prepare import is_path
from bb_jupyter.errors import BackendUnavailable
from bb_jupyter.home import bot_bottle_home, private_dir

if TYPE_CHECKING:
    from bb_jupyter.backend.shared.container_engine.engine import Engine

_HINT = "Start a container engine, or name a docker-archive or an unpacked root file system: --image /PATH."


def obtain(plan: SmolmachinesBottlePlan, on_progress: OnProgress) -> str:
    """Return the plan's image as `MachineConfig(image=…)` takes it; pull or build it if it is missing.

    Raises:
        BackendUnavailable: it cannot be pulled or saved.
        BuildFailed: it cannot be built.
    """
    if plan.target == "cloud" or plan.source or is_path(plan.image):
        return plan.image
    return str(_archive(plan, on_progress))


def _archive(plan: SmolmachinesBottlePlan, on_progress: OnProgress) -> Path:
    from bb_jupyter.backend.shared.container_engine import image

    try:
        engine = _engine()
        wanted = ContainerBottlePlan(
            spec=plan.spec, slug=plan.slug, stage_dir=plan.stage_dir, root="", user="", image=plan.image,
            dockerfile=plan.dockerfile,
        )  # fmt: skip
        image_id = image.obtain(engine, wanted, on_progress)
    except BackendUnavailable as error:
        raise BackendUnavailable(
            f"image {plan.image} cannot be made a machine's: {error.message}", hint=_HINT
        ) from None
    target = cache_folder() / f"{hashlib.sha256(image_id.encode()).hexdigest()[:32]}.tar"
    if not target.exists():
        on_progress(Progress("save image", line=plan.image))
        with engine.errors(f"save image '{plan.image}'"):
            _write(target, engine.client.get_image(image_id))
    return target


def _engine() -> Engine:
    """Return the container engine that this host has.

    Raises:
        BackendUnavailable: it has none.
    """
    for backend in registry.available():
        if isinstance(backend, ContainerBackend):
            return backend.engine()
    raise BackendUnavailable("no container engine answers here")


def _write(target: Path, pieces: object) -> None:
    """Write a file atomically."""
    descriptor, name = tempfile.mkstemp(dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)  # type: ignore[arg-type]
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def cache_folder() -> Path:
    """Return the folder of saved images, which are named after their content."""
    return private_dir(bot_bottle_home() / "images")
