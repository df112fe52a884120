"""Which files an agent changed: the working directory listed before and after."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from bb_jupyter.agent.guest import STEP_TIMEOUT, Guest
from bb_jupyter.agent.provision_plan import BOTTLE_FOLDER
from bb_jupyter.errors import BottleError

#: A file's name → its size, inode and times to the nanosecond, as text.
Listing = Mapping[str, str]

#: What tools keep for themselves, wherever it is.
_TOOLS = (".git", "node_modules", "__pycache__", ".venv")
#: What the bottle and common programs keep in the home.
_HOME = (BOTTLE_FOLDER, ".cache", ".config", ".local", ".npm", ".gitconfig", ".bash_history", ".wget-hsts")
# `stat -c` with these fields is the same in GNU's coreutils and in busybox.
_LIST = r"""
cd "$1" || exit 1; shift
find . \( "$@" \) -prune -o \( -type f -o -type l \) -exec stat -c '%s %i %y %z	%n' {} +
"""


def listing(bottle: Guest, home: str, folder: str, own: Sequence[str]) -> Listing | None:
    """List the files below *folder*.

    Args:
        bottle: where.
        home: the agent's home in the bottle.
        folder: relative to it.
        own: paths in the home that the agent keeps for itself.

    Returns:
        The files; `None` when they cannot be listed, such as in a bottle that is gone, or are too many.
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
    """Return the files that are new, different or gone, sorted; `None` when a listing is missing."""
    if before is None or after is None:
        return None
    return tuple(sorted(name for name in {*before, *after} if before.get(name) != after.get(name)))


def _below(top: str, home: str, path: str) -> str:
    """Return a path of the home as `find` names it from *top* on; one that is not below it matches nothing."""
    return "./" + posixpath.relpath(posixpath.join(home, path), top)
