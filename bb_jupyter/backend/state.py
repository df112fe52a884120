"""What this user's bottles leave on disk: `state/<slug>/bottle.json`, and the claim of a name.

A record is written before anything else of a bottle exists and removed after everything else is gone, so a crash at any
point leaves a record that cleanup can follow.
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

#: What `ls` says of a bottle that lacks nothing.
RUNNING = "running"
_RECORD = "bottle.json"
#: Nanoseconds after which a file's time tells it from the next.
_SETTLED = 1_000_000_000
#: State directory → its record's file when that was read last, as `_stamp` knows it, and what it said.
_known: dict[str, tuple[tuple[int, int, int], BottleRecord]] = {}
#: What a directory is called while it is made or removed.
_NEW, _GONE = ".new-", ".gone-"
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True)
class BottleRecord:
    """One bottle of this user, as its state directory tells it.

    Attributes:
        slug: unique for ever: the name and eight random hex digits.
        name: what the user calls it; unique among live bottles.
        backend: name of the backend that runs it.
        owner: the process that launched it (or attached to it last).
        created: seconds since the epoch.
        keep: it may outlive its owner.
        agent: name of its agent; empty for a plain shell.
        bottle: name of its bottle manifest; empty for none.
        details: what its backend needs to find it again, plain JSON values.
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
        """`running`, or what is wrong, as its owner wrote it down: such as `no gateway, no broker`."""
        wrong = (str(self.details.get(key) or "") for key in ("state", "broker_state"))
        return ", ".join(text for text in wrong if text not in ("", RUNNING)) or RUNNING

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
        with _locked():  # who adds details meanwhile would bring the directory back
            # Gone in one step: who is killed half-way leaves no directory without a record, which nobody could follow.
            with contextlib.suppress(OSError):
                self.directory.rename(state_dir() / f"{_GONE}{secrets.token_hex(4)}")
            _sweep()


def state_dir() -> Path:
    """Return `state/` in the user's folder, created when missing."""
    return private_dir(bot_bottle_home() / "state")


def new_slug(name: str) -> str:
    """Return a slug that no other bottle has had."""
    return f"{name}-{secrets.token_hex(4)}"


def records() -> list[BottleRecord]:
    """Return every bottle of this user that has a state directory, oldest first."""
    root = str(state_dir())
    folders = {f"{root}/{name}" for name in os.listdir(root) if _SLUG.fullmatch(name)}  # noqa: PTH208 -- names, not paths
    for folder in _known.keys() - folders:
        _known.pop(folder, None)  # its bottle is gone
    return sorted((record for record in map(_read, folders) if record), key=lambda record: record.created)


def claim(record: BottleRecord) -> None:
    """Make *record* the live bottle of its name.

    Args:
        record: written to its state directory, which is created here.

    Raises:
        NameTaken: another record of that name exists whose owner lives, or that was kept.
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
        # The record appears with its directory, in one step: no directory is ever without one.
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
        NameTaken: somebody else holds it.
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
    """Write down more of what a backend knows of a bottle; nothing happens when its record is gone.

    Raises:
        OSError: the disk is full or not writable.
    """
    with _locked():
        record = _read(f"{state_dir()}/{slug}")
        if record is not None:
            replace(record, details={**record.details, **details}).save()


def _sweep() -> None:
    """Finish what somebody was at who was killed: directories are made and removed under the lock, now ours."""
    for folder in state_dir().iterdir():
        if folder.name.startswith((_NEW, _GONE)):
            shutil.rmtree(folder, ignore_errors=True)


def _read(folder: str) -> BottleRecord | None:
    """Return the record of a state directory, from memory while its file is the one that was read last.

    A record is written by a rename, so a changed one is another file.  One that was written just now is not kept in
    memory: the next could have its inode and its time, which a file system counts in milliseconds.
    """
    path = f"{folder}/{_RECORD}"
    try:
        known = _known.get(folder)
        if known and known[0] == _stamp(os.stat(path)):  # noqa: PTH116 -- many files, often
            return known[1]
        with open(path) as file:  # noqa: PTH123
            stamp, data = _stamp(os.fstat(file.fileno())), json.load(file)
        record = BottleRecord(**{**data, "owner": ProcessIdentity.from_dict(data["owner"])})
    except (OSError, ValueError, TypeError, KeyError):
        _known.pop(folder, None)
        return None
    if time.time_ns() - stamp[1] > _SETTLED:
        _known[folder] = stamp, record
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
