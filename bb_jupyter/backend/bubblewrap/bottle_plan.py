"""What the bubblewrap backend decided before a launch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bb_jupyter.backend.plan import BottlePlan


@dataclass(frozen=True, kw_only=True)
class BubblewrapBottlePlan(BottlePlan):
    """A launch in Linux namespaces.

    Attributes:
        rlimits: limits that guest.py sets for itself and all commands: number, as `resource.RLIMIT_CORE` → value.
        home_archive: tar file with what the home starts with; `None` for an empty one.
        host_uid: whom this host takes the agent for; 0 for the user that this process is.
    """

    rlimits: dict[int, int] = field(default_factory=dict)
    home_archive: Path | None = None
    host_uid: int = 0
