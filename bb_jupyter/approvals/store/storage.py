"""Files of the queue: written whole and once; read so that nothing planted in their place blocks or fools a reader."""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bb_jupyter.errors import UsageError
from bb_jupyter.home import bot_bottle_home, private_dir

#: Most bytes of one file.
LARGEST: Final = 2 << 20
#: Most entries of one bottle's folder that are looked at.
_MOST_ENTRIES: Final = 4096
SLUG: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def approvals_dir() -> Path:
    """Return the folder of all queues; it need not exist."""
    return bot_bottle_home() / "approvals"


def slugs() -> list[str]:
    """Return the slugs of all bottles that have a queue, sorted."""
    try:
        with os.scandir(approvals_dir()) as entries:
            return sorted(entry.name for entry in entries if SLUG.match(entry.name) and _is_folder(entry))
    except OSError:
        return []


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


class Folder:
    """The queue of one bottle, as files.

    Args:
        slug: the bottle's.

    Raises:
        UsageError: *slug* could not be a folder's name.
    """

    def __init__(self, slug: str) -> None:
        if not SLUG.match(slug):
            raise UsageError("this is not a bottle's slug")
        self.path = approvals_dir() / slug

    def create(self) -> None:
        """Make it, closed to everybody else."""
        private_dir(self.path)

    def names(self) -> list[str]:
        """Return the names of its files; of those that are being written none."""
        try:
            with self._open() as folder, os.scandir(folder) as entries:
                return [entry.name for _, entry in zip(range(_MOST_ENTRIES), entries, strict=False)]
        except OSError:
            return []

    def read(self, name: str) -> dict[str, Any] | None:
        """Return the object that a file holds; ``None`` when there is none that can be trusted."""
        try:
            with self._open() as folder:
                data = _read(name, folder)
            value = json.loads(data)
        except (OSError, ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Write a file whole, to the disk, unless there is one of that name.

        Raises:
            FileExistsError: there is, whatever it is.
            OSError: the folder is gone, or no folder of ours, or the disk is full.
        """
        scratch = f".{name}.{secrets.token_hex(8)}"
        with self._open() as folder:
            try:
                _write(scratch, json.dumps(value, allow_nan=False).encode(), folder)
                os.link(scratch, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            finally:
                _unlink(scratch, folder)
            os.fsync(folder)

    def exists(self, name: str) -> bool:
        """Return whether there is anything of that name."""
        return os.path.lexists(self.path / name)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            with self._open() as folder:
                _unlink(name, folder)
        except OSError:
            return

    @contextmanager
    def _open(self) -> Iterator[int]:
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            yield folder
        finally:
            os.close(folder)


def _read(name: str, folder: int) -> bytes:
    # O_NONBLOCK: a FIFO or a device must not hold the reader.
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_size > LARGEST:
            raise ValueError("not a file of the queue")
        return file.read(LARGEST)


def _write(name: str, data: bytes, folder: int) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _unlink(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
