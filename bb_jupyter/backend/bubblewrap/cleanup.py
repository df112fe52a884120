"""Remove what is left of bottles whose owner is dead: control groups, the state directory, rarely a process."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from bb_jupyter.backend import state
from bb_jupyter.backend.bubblewrap.cgroup import Cgroup
from bb_jupyter.backend.bubblewrap.enumerate import records, sandbox_runs
from bb_jupyter.backend.plan import BottleCleanupPlan, Orphan
from bb_jupyter.backend.shared.bottle_broker import end_left, left


def prepare_cleanup() -> BottleCleanupPlan:
    """List what is left of bottles whose owner is dead."""
    dead = [record for record in records() if not record.owner.alive]
    return BottleCleanupPlan(tuple(orphan for record in dead for orphan in _remains(record)))


def cleanup(plan: BottleCleanupPlan) -> None:
    """Remove what *plan* lists."""
    for slug in dict.fromkeys(orphan.slug for orphan in plan.orphans):
        stop(slug)


def stop(slug: str) -> None:
    """Remove a bottle and all it has."""
    for record in records():
        if record.slug == slug:
            if sandbox_runs(record):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(record.details["pid"], signal.SIGKILL)
            end_left(record)
            Cgroup(tuple(_groups(record))).remove()
            record.remove()


def _remains(record: state.BottleRecord) -> Iterator[Orphan]:
    if sandbox_runs(record):
        yield Orphan(record.slug, "process", str(record.details["pid"]))
    if broker := left(record):
        yield Orphan(record.slug, "process", str(broker))
    for folder in _groups(record):
        if folder.is_dir():
            yield Orphan(record.slug, "cgroup", str(folder))
    yield Orphan(record.slug, "state", str(record.directory))


def _groups(record: state.BottleRecord) -> list[Path]:
    """Return the control groups of a record; paths that are not named after its slug are ignored."""
    folders = [Path(text) for text in record.details.get("cgroups", ())]
    return [folder for folder in folders if folder.name == f"bb-{record.slug}"]
