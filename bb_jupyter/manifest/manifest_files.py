"""The files of manifests: how they are named, where they lie, what each place may declare, and how they are read.

The user's folder may declare anything.  A repository may ship only agents, so cloning one grants no network and no
secret; its files are read without following links.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from bb_jupyter.errors import BottleError, ManifestError, UsageError
from bb_jupyter.home import bot_bottle_home
from bb_jupyter.text.visible import quoted

Origin = Literal["home", "kernel", "repository"]
T = TypeVar("T")

_FORBIDDEN = {"bottles", "contrib", "secrets"}
NAME_MAX = 40
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
MAX_BYTES = 256 * 1024
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One line of a listing: a manifest, or what is wrong with it.

    Attributes:
        name: its name.
        origin: where it comes from.
        path: its file, or the label of its cell.
        manifest: its content; ``None`` when it is broken.
        error: why it is broken; ``None`` when it is not.
    """

    name: str
    origin: Origin
    path: str
    manifest: T | None = None
    error: BottleError | None = None


def home_folder(kind: str) -> Path:
    """Return the folder of the user's *kind*: ``bottles`` or ``agents``; it need not exist."""
    return bot_bottle_home() / kind


def repository_folder(project_dir: Path) -> Path | None:
    """Return the project's ``.bot-bottle``; ``None`` when it has none, or when that is the user's own folder."""
    folder = project_dir.absolute() / ".bot-bottle"
    if not os.path.lexists(folder):
        return None
    try:
        own = folder.samefile(bot_bottle_home())
    except OSError:
        own = False
    return None if own else folder


def check_repository(project_dir: Path) -> None:
    """Refuse a project whose ``.bot-bottle`` holds more than a repository may ship.

    Args:
        project_dir: the project's root; nothing is wrong when it has no ``.bot-bottle``.

    Raises:
        ManifestError: it has ``bottles/``, ``contrib/`` or ``secrets/``, or is not a plain folder.
    """
    folder = repository_folder(project_dir)
    if folder is None:
        return
    if folder.is_symlink() or not folder.is_dir():
        raise ManifestError("not a plain folder", path=folder)
    found = sorted(entry for entry in _entries(folder) if entry.casefold() in _FORBIDDEN)
    if found:
        raise ManifestError(
            f"a repository may ship agents, never {found[0].casefold()}: nothing of it was read",
            path=folder / found[0],
            hint=f"Remove it; what you trust yourself belongs in {bot_bottle_home() / found[0].casefold()}.",
        )


def manifest_names(folder: Path) -> list[str]:
    """Return the names of the ``.md`` files in *folder*, sorted; none when it cannot be listed."""
    names = (name.encode("utf-8", "backslashreplace").decode() for name in _entries(folder))
    return sorted(name.removesuffix(".md") for name in names if name.endswith(".md") and name[0] != ".")


def _entries(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from [entry.name for entry in entries]
    except OSError:
        return


def is_name(text: str) -> bool:
    """Say whether *text* can name a bottle or an agent."""
    return _NAME.fullmatch(text) is not None


def validate_name(kind: str, name: str) -> str:
    """Check a name that a person typed.

    Args:
        kind: what is named, for the message: ``bottle`` or ``agent``.
        name: the name: 1 to 40 of ``a-z``, ``0-9`` and ``-``, not beginning or ending with ``-``.

    Returns:
        The same name.

    Raises:
        UsageError: the name breaks the rule; the hint has a corrected one where that is possible.
    """
    if is_name(name):
        return name
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:NAME_MAX].strip("-")
    raise UsageError(
        f"{quoted(name)} cannot name {'an' if kind[:1] in 'aeiou' else 'a'} {kind}: "
        f"use 1 to {NAME_MAX} of a-z, 0-9 and '-', with a letter or digit at both ends",
        hint=f"Try '{slug}'." if slug else "",
    )


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
