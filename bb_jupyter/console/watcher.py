"""Tells what has changed, by looking at a few files: no engine is asked, no log is read."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path

from bb_jupyter import approvals
from bb_jupyter.backend import state
from bb_jupyter.gateway.audit import audit_dir
from bb_jupyter.home import bot_bottle_home

#: Seconds between two looks: what a person takes for at once.
INTERVAL = 0.25

Seen = Mapping[tuple[str, str], Hashable]


class Watcher:
    """Remembers what it saw last."""

    def __init__(self) -> None:
        self._seen: Seen = look()

    def changes(self) -> dict[str, list[str]]:
        """Return what is not as it was at the last call.

        Returns:
            Slugs by what changed: `bottles` (the list itself), `approvals`, `output`, `egress`; an empty list of slugs
            for the first two.  Nothing at all when nothing changed.
        """
        before, self._seen = self._seen, look()
        changed = {key for key in before.keys() | self._seen.keys() if before.get(key) != self._seen.get(key)}
        return {
            kind: sorted(slug for of, slug in changed if of == kind and slug)
            for kind in sorted({of for of, _ in changed})
        }


def look() -> Seen:
    """Return a stamp of everything that a person watches."""
    records = state.records()
    seen: dict[tuple[str, str], Hashable] = {
        ("bottles", ""): tuple(
            (record.slug, record.owner, record.owner.alive, str(record.details.get("state"))) for record in records
        ),
        ("approvals", ""): approvals.changes(),
    }
    for record in records:
        seen["output", record.slug] = _latest(bot_bottle_home() / "logs" / record.slug)
        seen["egress", record.slug] = _stamp(audit_dir() / f"{record.slug}.jsonl")
    return seen


def _latest(folder: Path) -> Hashable:
    """Return the newest log and its size; runs at the same time are seen by the sum of all."""
    try:
        sizes = [entry.stat().st_size for entry in folder.iterdir()]
    except OSError:
        return None
    return len(sizes), sum(sizes)


def _stamp(path: Path) -> Hashable:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
