"""Where bb_jupyter keeps its files: one folder per user, closed to everybody else.

``~/.bot-bottle`` (moved by ``BOT_BOTTLE_HOME``) holds what the user wrote (``bottles/``, ``agents/``, ``contrib/``,
``skills/``, ``secrets/``) and what bottles leave (``state/<slug>/``, ``logs/<slug>/``, ``audit/``).
"""

from __future__ import annotations

import os
from itertools import takewhile
from pathlib import Path


def bot_bottle_home() -> Path:
    """Return the user's folder, absolute; it need not exist."""
    return Path(os.environ.get("BOT_BOTTLE_HOME") or Path.home() / ".bot-bottle").expanduser().absolute()


def private_dir(path: Path) -> Path:
    """Create *path* below the user's folder, with every missing parent, readable by the user alone.

    Returns:
        The same path.

    Raises:
        OSError: it cannot be created.
    """
    missing = takewhile(lambda folder: not folder.exists(), (path, *path.parents))
    for folder in reversed([*missing]):
        folder.mkdir(mode=0o700, exist_ok=True)
    return path
