"""Which files an agent changed: the working directory is listed before and after the run."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from bb_jupyter.agent.guest import STEP_TIMEOUT, Guest
from bb_jupyter.agent.provision_plan import BOTTLE_FOLDER
from bb_jupyter.errors import BottleError

#: Name of a file → its size, inode and times in nanoseconds, as text.
Listing = Mapping[str, str]

#: Names of tools' own files, which are skipped in every folder.
_TOOLS = (".git", "node_modules", "__pycache__", ".venv")
#: Paths in the home that belong to the bottle and to common programs.
_HOME = (BOTTLE_FOLDER, ".cache", ".config", ".local", ".npm", ".gitconfig", ".bash_history", ".wget-hsts")
# `stat -c` prints these fields in the same way in GNU coreutils and in busybox.
_LIST = r"""
cd "$1" || exit 1; shift
find . \( "$@" \) -prune -o \( -type f -o -type l \) -exec stat -c '%s %i %y %z	%n' {} +
"""


def listing(bottle: Guest, home: str, folder: str, own: Sequence[str]) -> Listing | None:
    """List the files below *folder*.

    Args:
        bottle: the bottle.
        home: the agent's home in the bottle.
        folder: the folder, relative to *home*.
        own: paths in the home that belong to the agent program; they are skipped.

    Returns:
        The files; `None` when they are too many or cannot be listed, such as in a bottle that is gone.
    """
    top = posixpath.normpath(posixpath.join(home, folder))
    skipped = [word for name in _TOOLS for word in ("-o", "-name", name)]
    skipped += [word for path in (*_HOME, *own) for word in ("-o", "-path", _below(top, home, path))]
    try:
        done = bottle.exec(["sh", "-c", _LIST, "sh", top, *skipped[1:]], timeout=STEP_TIMEOUT).wait()
    except BottleError:
        return None
    if done.returncode or getattr(done, "truncated", 0):
        return None
    lines = (line.partition("\t") for line in done.stdout.decode("utf-8", "replace").split("\n"))
    return {name.removeprefix("./"): facts for facts, _, name in lines if name}


def changed(before: Listing | None, after: Listing | None) -> tuple[str, ...] | None:
    """Return the files that are new, different or deleted, sorted; `None` when a listing is missing."""
    if before is None or after is None:
        return None
    return tuple(sorted(name for name in {*before, *after} if before.get(name) != after.get(name)))


def _below(top: str, home: str, path: str) -> str:
    """Return a path of the home as `find` prints it below *top*; a path outside *top* matches nothing."""
    return "./" + posixpath.relpath(posixpath.join(home, path), top)
