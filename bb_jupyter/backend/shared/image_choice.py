"""Which image a bottle starts from, and which Dockerfile is built on it."""

from __future__ import annotations

import os
from pathlib import Path

from bb_jupyter.agent.provision_plan import AgentProvisionPlan
from bb_jupyter.backend.spec import BottleSpec
from bb_jupyter.errors import UsageError

#: Image of a bottle for which neither the user nor a manifest names one; `BOT_BOTTLE_BASE_IMAGE` replaces it.
DEFAULT_IMAGE = "debian:bookworm-slim"
VARIABLE = "BOT_BOTTLE_BASE_IMAGE"


def base_image(spec: BottleSpec) -> str:
    """Return the name of the image that the bottle of *spec* runs, or that its Dockerfile is built on."""
    return spec.image or spec.manifest.image or os.environ.get(VARIABLE) or DEFAULT_IMAGE


def choose_dockerfile(spec: BottleSpec, agent: AgentProvisionPlan | None = None) -> Path | None:
    """Return the Dockerfile to build on the base image: the bottle's override, else the provider's; `None` for none.

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
