"""Live bubblewrap bottles: the records of this user whose PID 1 runs."""

from __future__ import annotations

from collections.abc import Sequence

from bb_jupyter.backend import state
from bb_jupyter.backend.bottle import ActiveAgent
from bb_jupyter.process import procfs

BACKEND = "bubblewrap"


def enumerate_active() -> Sequence[ActiveAgent]:
    """Return the live bottles, oldest first."""
    found = records()
    alive = {owner: owner.alive for owner in {record.owner for record in found}}
    return [ActiveAgent.of_record(record) for record in found if alive[record.owner] and sandbox_runs(record)]


def records() -> list[state.BottleRecord]:
    """Return the records of this backend."""
    return [record for record in state.records() if record.backend == BACKEND]


def sandbox_runs(record: state.BottleRecord) -> bool:
    """Whether the PID 1 of the record runs on this machine."""
    pid, start_time = record.details.get("pid"), record.details.get("start_time")
    here = type(record.owner).current()
    same_kernel = (record.owner.boot_id, record.owner.pid_namespace) == (here.boot_id, here.pid_namespace)
    return same_kernel and isinstance(pid, int) and start_time is not None and procfs.start_time(pid) == start_time
