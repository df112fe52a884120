"""What killed kernels left of microVM bottles."""

from __future__ import annotations

from dataclasses import dataclass

from bb_jupyter.backend.plan import BottleCleanupPlan


@dataclass(frozen=True)
class SmolmachinesBottleCleanupPlan(BottleCleanupPlan):
    """Machines, here and in the cloud, and state directories of bottles whose owner is dead."""
