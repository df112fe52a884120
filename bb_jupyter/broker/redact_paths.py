"""Words for the agent: what a person may read of this host is not always its business."""

from __future__ import annotations

import re
from typing import Final

_PATH: Final = re.compile(r"(?<![\w:/.@~-])~?/[^\s'\":;,()]+")
"""An absolute path, or one of a home; not what follows the host in a URL."""


def without_paths(text: str) -> str:
    """Return *text* with ``…`` in place of paths of this host."""
    return _PATH.sub("…", text)
