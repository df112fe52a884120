"""What killed kernels left of bubblewrap bottles."""

from __future__ import annotations

from dataclasses import dataclass

from bb_jupyter.backend.plan import BottleCleanupPlan


@dataclass(frozen=True)
class BubblewrapBottleCleanupPlan(BottleCleanupPlan):
    """Processes, control groups and state directories of bottles whose owner is dead."""
