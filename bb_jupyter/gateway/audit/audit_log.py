"""The audit log of a bottle: append-only JSON lines that outlive it, written on the trusted side."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from bb_jupyter.errors import UsageError, did_you_mean
from bb_jupyter.home import bot_bottle_home, private_dir

_ROTATED: Final = 4
_SLUG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_NAME_OF_SLUG: Final = re.compile(r"(?P<name>.+)-[0-9a-f]{8}\Z")
_DECISIONS: Final = frozenset(
    {"egress", "policy", "routes", "push", "proposal", "decision", "listener-lost", "gateway-died", "broker-died"}
)
"""Events after which the log is forced to the disk; ends of flows and log lines may wait."""


def audit_dir() -> Path:
    """Return the folder of all audit logs; it need not exist."""
    return bot_bottle_home() / "audit"


class AuditLog:
    """Appends events of one bottle to ``audit/<slug>.jsonl``.

    A file that has grown past *rotate_bytes* becomes ``<slug>.jsonl.1``, and so on; five files are kept.

    Args:
        slug: the bottle's.
        rotate_bytes: size of one file.

    Raises:
        UsageError: *slug* could not be a file's name.
        OSError: the folder cannot be created.
    """

    def __init__(self, slug: str, *, rotate_bytes: int = 32 * 1024 * 1024) -> None:
        if not _SLUG.match(slug):
            raise UsageError("this is not a bottle's slug")
        self.path = private_dir(audit_dir()) / f"{slug}.jsonl"
        self._rotate_bytes = rotate_bytes
        self._lock = threading.Lock()
        self._descriptor = self._open()

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def append(self, events: Iterable[Mapping[str, Any]], lines: Iterable[bytes] | None = None) -> None:
        """Write events in one piece, to the disk if one of them is a decision.

        Args:
            events: what happened.
            lines: the same as JSON, where somebody wrote it already.

        Raises:
            OSError: the disk is full or not writable.
        """
        batch = [*events]
        written = (json.dumps(event, separators=(",", ":")).encode() for event in batch) if lines is None else lines
        data = b"".join(line + b"\n" for line in written)
        with self._lock:
            if os.fstat(self._descriptor).st_size + len(data) > self._rotate_bytes:
                self._rotate()
            while data:
                data = data[os.write(self._descriptor, data) :]
            if any(event.get("event") in _DECISIONS for event in batch):
                os.fsync(self._descriptor)

    def _rotate(self) -> None:
        ours = os.fstat(self._descriptor).st_ino
        os.close(self._descriptor)
        self._descriptor = self._open()
        if os.fstat(self._descriptor).st_ino != ours:
            return  # the bottle's other writer, gateway or broker, has done it
        os.close(self._descriptor)
        for number in range(_ROTATED, 0, -1):
            older = self.path.with_name(f"{self.path.name}.{number}")
            newer = self.path.with_name(f"{self.path.name}.{number - 1}") if number > 1 else self.path
            if newer.exists():
                newer.replace(older)
        self._descriptor = self._open()

    def close(self) -> None:
        """Force everything to the disk and close; idempotent."""
        with self._lock:
            if self._descriptor >= 0:
                os.fsync(self._descriptor)
                os.close(self._descriptor)
                self._descriptor = -1


def read(slug_or_name: str) -> list[dict[str, Any]]:
    """Return the events of a bottle, oldest first; of every bottle that had the name, if a name is given.

    Args:
        slug_or_name: a slug, or the name that a bottle had.

    Returns:
        Events as the gateway reported them; lines that are no JSON object (a write cut short) are skipped.

    Raises:
        UsageError: nothing was ever logged under that slug or name.
    """
    events = [event for slug in slugs_of(slug_or_name) for event in read_slug(slug)]
    return sorted(events, key=lambda event: float(event.get("time") or 0.0))


def slugs_of(slug_or_name: str) -> list[str]:
    """Return the slugs of all bottles that had a name and have a log, the one written to last at the end.

    Args:
        slug_or_name: the name, or a slug, which is then the only one.

    Raises:
        UsageError: nothing was ever logged under that slug or name.
    """
    folder = audit_dir()
    slugs = _logged(folder)
    wanted = [slug for slug in slugs if slug == slug_or_name]
    wanted = wanted or [slug for slug in slugs if _name_of(slug) == slug_or_name]
    if not wanted:
        near = did_you_mean(slug_or_name, map(_name_of, slugs))
        hint = near if near.startswith("Did") else f"logs are in {folder}"
        raise UsageError(f"no audit log of '{slug_or_name[:64]}'", hint=hint)
    return wanted


def names() -> set[str]:
    """Return the names of all bottles that have a log."""
    return {*map(_name_of, _logged(audit_dir()))} - {""}


def _logged(folder: Path) -> list[str]:
    """Return every slug that has a log, the one written to last at the end."""
    newest: dict[str, float] = {}
    for path in folder.glob("*.jsonl*") if folder.is_dir() else ():
        slug = path.name.partition(".jsonl")[0]
        newest[slug] = max(newest.get(slug, 0.0), path.stat().st_mtime)
    return sorted(newest, key=lambda slug: newest[slug])


def _name_of(slug: str) -> str:
    match = _NAME_OF_SLUG.match(slug)
    return match["name"] if match else ""


def read_slug(slug: str) -> Iterable[dict[str, Any]]:
    """Return the events of one bottle, oldest first; nothing when there is no log."""
    names = [*(f"{slug}.jsonl.{number}" for number in range(_ROTATED, 0, -1)), f"{slug}.jsonl"]
    for path in (audit_dir() / name for name in names):
        if not path.is_file():
            continue
        for line in path.read_bytes().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
