"""The JavaScript of a widget: modules of `frontend/` put together in one script, for there is no bundler here.

A module imports with one line each, `import { a } from "./b.js";`, and all that it declares has a name of its own.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_IMPORT = re.compile(r'^import .*?"\./(?P<module>[a-z_]+\.js)";\n', re.MULTILINE)


@cache
def page_script(entry: str) -> str:
    """Return a module with all that it imports, directly or not; each module comes after those that it imports.

    Args:
        entry: name of the module in `frontend/`; its default export is the script's.
    """
    texts: dict[str, str] = {}
    _collect(entry, texts)
    return "\n".join(texts.values())


def style_sheet(name: str) -> str:
    """Return a style sheet of `frontend/`."""
    return (files("bb_jupyter") / "frontend" / name).read_text("utf-8")


def _collect(name: str, texts: dict[str, str]) -> None:
    """Add a module to *texts*, after what it imports."""
    text = (files("bb_jupyter") / "frontend" / name).read_text("utf-8")
    for match in _IMPORT.finditer(text):
        if match["module"] not in texts:
            _collect(match["module"], texts)
    texts[name] = _IMPORT.sub("", text)
