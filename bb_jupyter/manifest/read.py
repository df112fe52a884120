"""Reading a manifest's file: bounded, never waiting, and not through a link that a repository planted."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from pathlib import Path

from bb_jupyter.errors import ManifestError
from bb_jupyter.manifest.parse import MAX_BYTES

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_text(path: Path, *, beneath: Path | None = None) -> str:
    """Read a manifest's file.

    Args:
        path: the file.
        beneath: a folder whose content is not trusted: no symbolic link is followed between it and the file.

    Raises:
        ManifestError: it cannot be read, is not a regular file, is larger than 256 KiB or not UTF-8.
    """
    try:
        data = _read_bytes(path, beneath)
    except OSError as error:
        linked = beneath is not None and path_has_link(path, beneath)
        reason = "a symbolic link in a repository is not followed" if linked else f"cannot be read: {error.strerror}"
        raise ManifestError(reason, path=path) from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"not UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}"
        raise ManifestError(message, path=path, line=data.count(b"\n", 0, error.start) + 1) from error


def path_has_link(path: Path, beneath: Path) -> bool:
    """Say whether a component of *path* below *beneath* is a symbolic link."""
    return any(part.is_symlink() for part in (path, *path.parents) if part != beneath and part.is_relative_to(beneath))


def _read_bytes(path: Path, beneath: Path | None) -> bytes:
    with ExitStack() as stack:
        descriptor = _open(path, beneath, stack)
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            kind = _KINDS.get(stat.S_IFMT(state.st_mode), "something else")
            raise ManifestError(f"not a regular file but {kind}", path=path)
        data = b""
        while len(data) <= MAX_BYTES and (piece := os.read(descriptor, MAX_BYTES + 1 - len(data))):
            data += piece
    if len(data) > MAX_BYTES:
        raise ManifestError(f"larger than {MAX_BYTES // 1024} KiB", path=path)
    return data


def _open(path: Path, beneath: Path | None, stack: ExitStack) -> int:
    if beneath is None:
        descriptor = os.open(path, _FLAGS)
        stack.callback(os.close, descriptor)
        return descriptor
    descriptor = os.open(beneath, _FLAGS | os.O_DIRECTORY)
    stack.callback(os.close, descriptor)
    for part in path.relative_to(beneath).parts:
        descriptor = os.open(part, _FLAGS | os.O_NOFOLLOW, dir_fd=descriptor)
        stack.callback(os.close, descriptor)
    return descriptor
