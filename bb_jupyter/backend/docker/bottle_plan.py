"""What the Docker backend decided before a launch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bb_jupyter.backend.plan import BottlePlan


@dataclass(frozen=True, kw_only=True)
class DockerBottlePlan(BottlePlan):
    """A launch in a container.

    Attributes:
        image: the image to start from, as a person names it.
        image_id: its id, or that of what the Dockerfile made of it; empty when it must be pulled or built first.
        dockerfile: what to build on it; `None` to run it as it is.
        container: name of the container.
        container_user: `UID:GID` or a name that the image knows.
    """

    image: str = ""
    image_id: str = ""
    dockerfile: Path | None = None
    container: str = ""
    container_user: str = ""
