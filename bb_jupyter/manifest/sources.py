"""Where manifests lie, and what a place may say.

The user's folder may hold anything; a repository only agents, so that cloning one gives it no network and no secret.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from bb_jupyter.errors import BottleError, ManifestError
from bb_jupyter.home import bot_bottle_home

Origin = Literal["home", "kernel", "repository"]
T = TypeVar("T")

_FORBIDDEN = {"bottles", "contrib", "secrets"}


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One line of a listing: a manifest, or what is wrong with it.

    Attributes:
        name: how it is asked for.
        origin: where it comes from.
        path: its file, or the label of its cell.
        manifest: what it says; ``None`` when it is broken.
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
    found = sorted(entry for entry in _names(folder) if entry.casefold() in _FORBIDDEN)
    if found:
        raise ManifestError(
            f"a repository may ship agents, never {found[0].casefold()}: nothing of it was read",
            path=folder / found[0],
            hint=f"Remove it; what you trust yourself belongs in {bot_bottle_home() / found[0].casefold()}.",
        )


def manifest_names(folder: Path) -> list[str]:
    """Return the names of the ``.md`` files in *folder*, sorted; none when it cannot be listed."""
    names = (name.encode("utf-8", "backslashreplace").decode() for name in _names(folder))
    return sorted(name.removesuffix(".md") for name in names if name.endswith(".md") and name[0] != ".")


def _names(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from [entry.name for entry in entries]
    except OSError:
        return
