"""What the bubblewrap backend decided before a launch."""

from __future__ import annotations

from dataclasses import dataclass, field

from bb_jupyter.backend.plan import BottlePlan


@dataclass(frozen=True, kw_only=True)
class BubblewrapBottlePlan(BottlePlan):
    """A launch in Linux namespaces.

    Attributes:
        rlimits: limits that guest.py sets for itself and all commands: `RLIMIT_*` → value.
    """

    rlimits: dict[str, int] = field(default_factory=dict)
