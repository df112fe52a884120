"""The plan of a launch with bubblewrap."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bb_jupyter.backend.plan import BottlePlan


@dataclass(frozen=True, kw_only=True)
class BubblewrapBottlePlan(BottlePlan):
    """A launch in Linux namespaces.

    Attributes:
        rlimits: limits that guest.py sets for itself and all commands: number, as `resource.RLIMIT_CORE` → value.
        home_archive: tar file with the first content of the home; `None` for an empty home.
        host_uid: uid of the agent on this host; 0 for the user of this process.
    """

    rlimits: dict[int, int] = field(default_factory=dict)
    home_archive: Path | None = None
    host_uid: int = 0
