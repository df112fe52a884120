"""What the Docker backend would clean up."""

from __future__ import annotations

from dataclasses import dataclass

from bb_jupyter.backend.plan import BottleCleanupPlan


@dataclass(frozen=True)
class DockerBottleCleanupPlan(BottleCleanupPlan):
    """Orphans of kind `container` (its id), `volume` (its name) and `state` (its directory)."""
