"""Records of this user's bottles on disk (`state/<slug>/bottle.json`), and claims of names.

A record is written before any other part of a bottle exists, and removed after all others are gone.  So a crash at any
point leaves a record for cleanup.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bb_jupyter.errors import NameTaken
from bb_jupyter.home import bot_bottle_home, private_dir
from bb_jupyter.process.identity import ProcessIdentity

#: State of a bottle without a problem.
RUNNING = "running"
_RECORD = "bottle.json"
#: Nanoseconds after which the modification time distinguishes a file from a later one.
_SETTLED = 1_000_000_000
#: State directory → `_stamp` of the record's file when it was read last, and the record.
_cache: dict[str, tuple[tuple[int, int, int], BottleRecord]] = {}
#: Prefixes of a directory while it is made or removed.
_NEW, _GONE = ".new-", ".gone-"
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True)
class BottleRecord:
    """One bottle of this user, as recorded in its state directory.

    Attributes:
        slug: unique for ever: the name and eight random hex digits.
        name: its name, which the user chose; unique among live bottles.
        backend: name of the backend that runs it.
        owner: the process that launched it (or attached to it last).
        created: seconds since the epoch.
        keep: it may outlive its owner.
        agent: name of its agent; empty for a plain shell.
        bottle: name of its bottle manifest; empty for none.
        details: values by which its backend finds it again, as plain JSON.
    """

    slug: str
    name: str
    backend: str
    owner: ProcessIdentity
    created: float
    keep: bool = False
    agent: str = ""
    bottle: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """Its state directory."""
        return state_dir() / self.slug

    @property
    def state(self) -> str:
        """`running`, or the problems that its owner recorded, such as `no gateway, no broker`."""
        problems = (str(self.details.get(key) or "") for key in ("state", "broker_state"))
        return ", ".join(text for text in problems if text not in ("", RUNNING)) or RUNNING

    def save(self) -> None:
        """Write the record, atomically.

        Raises:
            OSError: the disk is full or not writable.
        """
        with tempfile.NamedTemporaryFile("w", dir=self.directory, delete=False) as file:
            file.write(self.to_json())
        Path(file.name).replace(self.directory / _RECORD)

    def to_json(self) -> str:
        """Return the record as JSON text."""
        return json.dumps(asdict(self), indent=1)

    def remove(self) -> None:
        """Remove the state directory; the last act of a bottle's end.  Idempotent."""
        with _locked():  # otherwise `add_details` might bring the directory back
            # Rename first, so that a crash never leaves a state directory without its record.
            with contextlib.suppress(OSError):
                self.directory.rename(state_dir() / f"{_GONE}{secrets.token_hex(4)}")
            _sweep()


def state_dir() -> Path:
    """Return `state/` in the user's folder; create it if it is missing."""
    return private_dir(bot_bottle_home() / "state")


def new_slug(name: str) -> str:
    """Return a slug that no other bottle ever had."""
    return f"{name}-{secrets.token_hex(4)}"


def records() -> list[BottleRecord]:
    """Return every bottle of this user that has a state directory, oldest first."""
    root = str(state_dir())
    folders = {f"{root}/{name}" for name in os.listdir(root) if _SLUG.fullmatch(name)}  # noqa: PTH208 -- names, not paths
    for folder in _cache.keys() - folders:
        _cache.pop(folder, None)  # its bottle is gone
    return sorted((record for record in map(_read, folders) if record), key=lambda record: record.created)


def claim(record: BottleRecord) -> None:
    """Make *record* the live bottle of its name.

    Args:
        record: written to its state directory, which is created here.

    Raises:
        NameTaken: another record has that name.
        OSError: the disk is full or not writable.
    """
    with _locked():
        _sweep()
        for other in records():
            if other.name == record.name and other.slug != record.slug:
                raise NameTaken(
                    f"bottle '{record.name}' is taken: {other.backend}, started by {other.owner} {_ago(other.created)}",
                    hint="Choose another name"
                    + (f", or `%bottle attach {record.name}`." if other.keep else ", or stop it in its own notebook."),
                )
        # The directory appears together with its record, by one rename.
        new = Path(tempfile.mkdtemp(dir=state_dir(), prefix=_NEW))
        try:
            (new / _RECORD).write_text(record.to_json())
            new.rename(record.directory)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise


def take_over(record: BottleRecord, owner: ProcessIdentity) -> BottleRecord:
    """Make *owner* the owner of a kept bottle whose owner is dead.

    Raises:
        NameTaken: its owner is alive.
    """
    with _locked():
        current = _read(str(record.directory)) or record
        if current.owner != owner and current.owner.alive:
            raise NameTaken(f"bottle '{record.name}' is held by {current.owner}", hint="Stop it in its own notebook.")
        taken = replace(current, owner=owner)
        private_dir(record.directory)
        taken.save()
        return taken


def add_details(slug: str, **details: object) -> None:
    """Add details to a bottle's record; do nothing if the record is gone.

    Raises:
        OSError: the disk is full or not writable.
    """
    with _locked():
        record = _read(f"{state_dir()}/{slug}")
        if record is not None:
            replace(record, details={**record.details, **details}).save()


def _sweep() -> None:
    """Remove directories that a killed process was making or removing; the caller holds the lock."""
    for folder in state_dir().iterdir():
        if folder.name.startswith((_NEW, _GONE)):
            shutil.rmtree(folder, ignore_errors=True)


def _read(folder: str) -> BottleRecord | None:
    """Return the record of a state directory, from the cache if its file has not changed since it was read.

    A record is written by a rename, so a changed record is another file.  A file that was written just now is not
    cached: the next one could have the same inode and the same time, which a file system counts in milliseconds.
    """
    path = f"{folder}/{_RECORD}"
    try:
        cached = _cache.get(folder)
        if cached and cached[0] == _stamp(os.stat(path)):  # noqa: PTH116 -- many files, often
            return cached[1]
        with open(path) as file:  # noqa: PTH123
            stamp, data = _stamp(os.fstat(file.fileno())), json.load(file)
        record = BottleRecord(**{**data, "owner": ProcessIdentity.from_dict(data["owner"])})
    except (OSError, ValueError, TypeError, KeyError):
        _cache.pop(folder, None)
        return None
    if time.time_ns() - stamp[1] > _SETTLED:
        _cache[folder] = stamp, record
    return record


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    with (state_dir() / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _ago(created: float) -> str:
    minutes = max(0, round((time.time() - created) / 60))
    return f"{minutes} min ago" if minutes else "just now"
