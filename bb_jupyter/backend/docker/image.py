"""The image that a bottle starts from: which one, whether it is here, and pulling it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound

from bb_jupyter.agent.provision_plan import AgentProvisionPlan
from bb_jupyter.backend.base import OnProgress, Progress
from bb_jupyter.backend.docker import build, engine
from bb_jupyter.backend.docker.bottle_plan import DockerBottlePlan
from bb_jupyter.backend.spec import BottleSpec
from bb_jupyter.errors import BackendUnavailable, UsageError

#: Image of a bottle for which nobody names one; `BOT_BOTTLE_BASE_IMAGE` moves it.
DEFAULT_IMAGE = "debian:bookworm-slim"
VARIABLE = "BOT_BOTTLE_BASE_IMAGE"


def base_image(spec: BottleSpec) -> str:
    """Return the name of the image that a bottle of *spec* is, or is built on."""
    return spec.image or spec.manifest.image or os.environ.get(VARIABLE) or DEFAULT_IMAGE


def choose_dockerfile(spec: BottleSpec, agent: AgentProvisionPlan | None = None) -> Path | None:
    """Return what to build on the base image: the bottle's override, else that of its provider; `None`: nothing.

    Raises:
        UsageError: the chosen file does not exist.
    """
    of_agent = agent.dockerfile if agent else spec.manifest.agent_provider.dockerfile
    chosen = spec.dockerfile or spec.manifest.dockerfile or of_agent
    if not chosen:
        return None
    if not Path(chosen).is_file():
        raise UsageError(f"there is no Dockerfile {chosen}", hint="Check `dockerfile` in the bottle's manifest.")
    return Path(chosen)


def inspect(client: docker.APIClient, name: str) -> dict[str, Any] | None:
    """Return what the engine knows of an image; `None` when it has it not.

    Raises:
        UsageError: that cannot be an image's name.
        BackendUnavailable: the engine does not answer.
    """
    with engine.errors(f"look for image '{name}'"):
        try:
            found: dict[str, Any] = client.inspect_image(name)
        except ImageNotFound:
            return None
        except APIError as error:
            if error.status_code in (400, 404) or "invalid reference" in engine.text_of(error):
                raise UsageError(f"not the name of an image: {name!r}", hint="Write --image NAME[:TAG].") from None
            raise
    return found


def obtain(client: docker.APIClient, plan: DockerBottlePlan, on_progress: OnProgress) -> str:
    """Return the id of the plan's image, pulled and built where it is missing.

    Raises:
        BackendUnavailable: it cannot be pulled.
        BuildFailed: it cannot be built.
    """
    if plan.image_id:
        return plan.image_id
    found = inspect(client, plan.image) or pull(client, plan.image, on_progress)
    if plan.dockerfile is None:
        return str(found["Id"])
    return build.build(client, plan.dockerfile, plan.image, str(found["Id"]), on_progress)


def pull(client: docker.APIClient, name: str, on_progress: OnProgress) -> dict[str, Any]:
    """Pull an image and return what the engine knows of it.

    Raises:
        BackendUnavailable: it cannot be pulled.
    """
    hint = f"Name an image that this engine has, or can pull: --image NAME, or {VARIABLE}."
    layers: dict[str, bool] = {}
    with engine.errors(f"pull image '{name}'"):
        try:
            for step in client.pull(*_repository_and_tag(name), stream=True, decode=True):
                if "error" in step:
                    raise BackendUnavailable(f"cannot pull image '{name}': {_one_line(step['error'])}", hint=hint)
                _show_layer(name, step, layers, on_progress)
        except APIError as error:
            raise BackendUnavailable(f"cannot pull image '{name}': {engine.text_of(error)}", hint=hint) from None
    found = inspect(client, name)
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
