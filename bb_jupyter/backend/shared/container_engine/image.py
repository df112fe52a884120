"""The image that a bottle starts from: which one, whether it is here, and pulling it."""

from __future__ import annotations

from typing import Any

import docker
from docker.errors import APIError, ImageNotFound

from bb_jupyter.backend.base import OnProgress, Progress
from bb_jupyter.backend.shared.container_engine import image_build
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.container_engine.engine import Engine, text_of
from bb_jupyter.backend.shared.image_choice import VARIABLE
from bb_jupyter.errors import BackendUnavailable, UsageError


def inspect(engine: Engine, name: str) -> dict[str, Any] | None:
    """Return what the engine knows of an image; `None` when it has it not.

    Raises:
        UsageError: that cannot be an image's name.
        BackendUnavailable: the engine does not answer.
    """
    with engine.errors(f"look for image '{name}'"):
        try:
            found: dict[str, Any] = engine.client.inspect_image(name)
        except ImageNotFound:
            return None
        except APIError as error:
            if error.status_code in (400, 404) or "invalid reference" in text_of(error):
                raise UsageError(f"not the name of an image: {name!r}", hint="Write --image NAME[:TAG].") from None
            raise
    return found


def obtain(engine: Engine, plan: ContainerBottlePlan, on_progress: OnProgress) -> str:
    """Return the id of the plan's image, pulled and built where it is missing.

    Raises:
        BackendUnavailable: it cannot be pulled.
        BuildFailed: it cannot be built.
    """
    if plan.image_id:
        return plan.image_id
    found = inspect(engine, plan.image) or pull(engine, plan.image, on_progress)
    if plan.dockerfile is None:
        return str(found["Id"])
    return image_build.build(engine, plan.dockerfile, plan.image, str(found["Id"]), on_progress)


def pull(engine: Engine, name: str, on_progress: OnProgress) -> dict[str, Any]:
    """Pull an image and return what the engine knows of it.

    Raises:
        BackendUnavailable: it cannot be pulled.
    """
    hint = f"Name an image that this engine has, or can pull: --image NAME, or {VARIABLE}."
    layers: dict[str, bool] = {}
    with engine.errors(f"pull image '{name}'"):
        try:
            for step in engine.client.pull(*_repository_and_tag(name), stream=True, decode=True):
                if "error" in step:
                    raise BackendUnavailable(f"cannot pull image '{name}': {_one_line(step['error'])}", hint=hint)
                _show_layer(name, step, layers, on_progress)
        except APIError as error:
            raise BackendUnavailable(f"cannot pull image '{name}': {text_of(error)}", hint=hint) from None
    found = inspect(engine, name)
    if found is None:
        raise BackendUnavailable(f"the engine pulled image '{name}' but has it not", hint=hint)
    return found


def _repository_and_tag(name: str) -> tuple[str, str]:
    repository, tag = docker.utils.parse_repository_tag(name)
    return repository, tag or "latest"  # without a tag the engine would pull them all


def _show_layer(name: str, step: dict[str, Any], layers: dict[str, bool], on_progress: OnProgress) -> None:
    status = step.get("status", "")
    if "id" in step and status in ("Pulling fs layer", "Pull complete", "Already exists"):
        layers[step["id"]] = status != "Pulling fs layer"
    on_progress(Progress(f"pull {name}", sum(layers.values()), len(layers), "" if "progressDetail" in step else status))


def _one_line(text: str) -> str:
    return " ".join(text.split())
