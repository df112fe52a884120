"""Where bottles run: the contract that every backend keeps, and nothing of any one backend.

`spec` is what the user asked for, `plan` what a backend makes of it, `bottle` and `execution` what runs, `base` the
`BottleBackend` itself; `registry` knows which backends there are.
"""

from bb_jupyter.agent.guest import Command
from bb_jupyter.backend.base import BottleBackend, Check, OnProgress, Progress, no_progress
from bb_jupyter.backend.bottle import ActiveAgent, Bottle
from bb_jupyter.backend.execution import KILLED, TIMED_OUT, Chunk, Completed, Execution
from bb_jupyter.backend.plan import (
    GUEST_HOME,
    GUEST_UID,
    GUEST_USER,
    BottleCleanupPlan,
    BottlePlan,
    LimitPlan,
    Orphan,
)
from bb_jupyter.backend.shared.archive import CopyReport
from bb_jupyter.backend.spec import BottleSpec, Copy
from bb_jupyter.errors import BackendUnavailable, BottleError, BottleGone, ManifestError, PolicyDenied
from bb_jupyter.process.identity import ProcessIdentity

__all__ = [
    "GUEST_HOME",
    "GUEST_UID",
    "GUEST_USER",
    "KILLED",
    "TIMED_OUT",
    "ActiveAgent",
    "BackendUnavailable",
    "Bottle",
    "BottleBackend",
    "BottleCleanupPlan",
    "BottleError",
    "BottleGone",
    "BottlePlan",
    "BottleSpec",
    "Check",
    "Chunk",
    "Command",
    "Completed",
    "Copy",
    "CopyReport",
    "Execution",
    "LimitPlan",
    "ManifestError",
    "OnProgress",
    "Orphan",
    "PolicyDenied",
    "ProcessIdentity",
    "Progress",
    "no_progress",
]
