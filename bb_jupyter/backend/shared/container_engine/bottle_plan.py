"""What the Docker backend decided before a launch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from bb_jupyter.backend.plan import BottlePlan


@dataclass(frozen=True, kw_only=True)
class ContainerBottlePlan(BottlePlan):
    """A launch in a container.

    Attributes:
        image: the image to start from, as a person names it.
        image_id: its id, or that of what the Dockerfile made of it; empty when it must be pulled or built first.
        dockerfile: what to build on it; `None` to run it as it is.
        container: name of the container.
        container_user: `UID:GID` or a name that the image knows.
        snapshot: id of the image made of another bottle, which is run instead; empty for none.
    """

    image: str = ""
    image_id: str = ""
    dockerfile: Path | None = None
    container: str = ""
    container_user: str = ""
    snapshot: str = ""

    def renamed(self, name: str, slug: str, stage_dir: Path) -> Self:
        """See `BottlePlan.renamed`; the container is called after the slug."""
        return replace(super().renamed(name, slug, stage_dir), container=container_name(slug))


def container_name(slug: str) -> str:
    """Return the name of the container of a bottle."""
    return f"bb-{slug}"
