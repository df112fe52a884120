"""Reports what has changed for a person who watches bottles.  No engine is asked and no log is read."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Final, Self

from bb_jupyter import approvals
from bb_jupyter.approvals.store.storage import approvals_dir
from bb_jupyter.approvals.store.storage import slugs as queues
from bb_jupyter.backend import state
from bb_jupyter.gateway.audit.audit_log import audit_dir
from bb_jupyter.home import bot_bottle_home
from bb_jupyter.process.waiting import TICK, FileChanges

#: Seconds between two reports of output and of requests, which may change a thousand times a second.
INTERVAL: Final = 0.25
#: What is reported at most once in `INTERVAL`.
_OFTEN: Final = frozenset(("output", "egress"))

Seen = Mapping[tuple[str, str], Hashable]


class Watcher:
    """Compares what there is with what was there at the last call.

    `wait` blocks until something may have changed; `changes` says what.  Use it in a ``with`` statement, or without
    `wait`.
    """

    def __init__(self) -> None:
        self._stamp: Hashable = None
        self._records: Sequence[state.BottleRecord] = ()
        # Two instances: one reports everything, the other one only what is reported at once.
        self._everything: FileChanges | None = None
        self._urgent: FileChanges | None = None
        self._pause = False
        self._seen = self._look()

    def __enter__(self) -> Self:
        self._everything, self._urgent = FileChanges(), FileChanges()
        self._watch()
        return self

    def __exit__(self, *_: object) -> None:
        for watched in (self._everything, self._urgent):
            if watched is not None:
                watched.close()

    def wait(self) -> None:
        """Wait until something may have changed, at most a second: no file changes when a kernel dies.

        Approvals and bottles are noticed at once, output and requests at most once in `INTERVAL`.
        """
        if self._everything is None or self._urgent is None:
            raise RuntimeError("a watcher waits only in its `with` statement")
        if self._pause:
            self._urgent.wait(INTERVAL)
        self._everything.wait(TICK if self._watch() else INTERVAL)

    def changes(self) -> dict[str, list[str]]:
        """Return what is not as it was at the last call.

        Returns:
            Slugs by what changed: `bottles` (the list itself), `approvals`, `output`, `egress`; an empty list of slugs
            for the first two.  Nothing at all when nothing changed.
        """
        self._watch()  # before it looks: what comes into being meanwhile is reported to the next `wait`
        before, self._seen = self._seen, self._look()
        changed = {key for key in before.keys() | self._seen.keys() if before.get(key) != self._seen.get(key)}
        kinds = sorted({of for of, _ in changed})
        self._pause = not _OFTEN.isdisjoint(kinds)
        return {kind: sorted(slug for of, slug in changed if of == kind and slug) for kind in kinds}

    def _watch(self) -> bool:
        """Watch the folders that there are now; return whether changes of bottles and approvals are reported."""
        if self._everything is None or self._urgent is None:
            return False
        home, slugs = bot_bottle_home(), [record.slug for record in self._records]
        folders = [state.state_dir(), approvals_dir(), audit_dir(), home / "logs"]
        urgent = [home, *folders[:2], *(folders[0] / slug for slug in slugs), *(folders[1] / slug for slug in queues())]
        self._urgent.watch(urgent)
        self._everything.watch([*urgent, *folders[2:], *(folders[3] / slug for slug in slugs)])
        return self._urgent.covers(str(path) for path in urgent if path.exists())

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
