"""Tells what has changed, by looking at a few files: no engine is asked, no log is read."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence

from bb_jupyter import approvals
from bb_jupyter.backend import state
from bb_jupyter.gateway.audit.audit_log import audit_dir
from bb_jupyter.home import bot_bottle_home

#: Seconds between two looks: what a person takes for at once.
INTERVAL = 0.25

Seen = Mapping[tuple[str, str], Hashable]


class Watcher:
    """Remembers what it saw last."""

    def __init__(self) -> None:
        self._stamp: Hashable = None
        self._records: Sequence[state.BottleRecord] = ()
        self._seen = self._look()

    def changes(self) -> dict[str, list[str]]:
        """Return what is not as it was at the last call.

        Returns:
            Slugs by what changed: `bottles` (the list itself), `approvals`, `output`, `egress`; an empty list of slugs
            for the first two.  Nothing at all when nothing changed.
        """
        before, self._seen = self._seen, self._look()
        changed = {key for key in before.keys() | self._seen.keys() if before.get(key) != self._seen.get(key)}
        kinds = sorted({of for of, _ in changed})
        return {kind: sorted(slug for of, slug in changed if of == kind and slug) for kind in kinds}

    def _look(self) -> Seen:
        """Return a stamp of everything that a person watches."""
        records = self._look_at_records()
        alive = {owner: owner.alive for owner in {record.owner for record in records}}
        seen: dict[tuple[str, str], Hashable] = {
            ("bottles", ""): (self._stamp, frozenset(alive.items())),
            ("approvals", ""): approvals.changes(),
        }
        logs, audits = bot_bottle_home() / "logs", audit_dir()
        for record in records:
            seen["output", record.slug] = _sizes(f"{logs}/{record.slug}")
            seen["egress", record.slug] = _size(f"{audits}/{record.slug}.jsonl")
        return seen

    def _look_at_records(self) -> Sequence[state.BottleRecord]:
        """Return the bottles' records, read again only where one of them was written."""
        with os.scandir(state.state_dir()) as folders:
            stamp = frozenset((folder.name, _changed(f"{folder.path}/bottle.json")) for folder in folders)
        if stamp != self._stamp:
            self._stamp, self._records = stamp, state.records()
        return self._records


def _sizes(folder: str) -> Hashable:
    """Return how many logs there are and the size of all, so that runs at the same time are seen, too."""
    try:
        with os.scandir(folder) as files:
            sizes = [file.stat().st_size for file in files]
    except OSError:
        return None
    return len(sizes), sum(sizes)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 -- many files, often
    except OSError:
        return -1


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116
    except OSError:
        return -1
