"""The contract of all backends, which run bottles.

`spec` has the user's request, `plan` a backend's plan for it, `bottle` and `execution` the running bottle and its
commands, `base` the `BottleBackend` class; `registry` finds the backends.
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
