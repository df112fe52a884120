"""The folder of bb_jupyter's files: one per user, closed to other users.

It is ``~/.bot-bottle``, or ``BOT_BOTTLE_HOME``.  The user's own files are in ``bottles/``, ``agents/``, ``contrib/``,
``skills/`` and ``secrets/``; the files of bottles are in ``state/<slug>/``, ``logs/<slug>/`` and ``audit/``.
"""

from __future__ import annotations

import os
from itertools import takewhile
from pathlib import Path


def bot_bottle_home() -> Path:
    """Return the absolute path of the user's folder, which may not exist yet."""
    return Path(os.environ.get("BOT_BOTTLE_HOME") or Path.home() / ".bot-bottle").expanduser().absolute()


def private_dir(path: Path) -> Path:
    """Create the folder *path* below the user's folder, with all missing parents, readable by the user alone.

    Returns:
        The same path.

    Raises:
        OSError: the folder cannot be created.
    """
    missing = takewhile(lambda folder: not folder.exists(), (path, *path.parents))
    for folder in reversed([*missing]):
        folder.mkdir(mode=0o700, exist_ok=True)
    return path
