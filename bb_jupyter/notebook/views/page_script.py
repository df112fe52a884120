"""The JavaScript of a widget: modules of `frontend/` put together in one script, for there is no bundler here.

A module imports with one line each, `import { a } from "./b.js";`, and all that it declares has a name of its own.
`kinds/*.js`, the parts of all kinds of requests, come after `approval.js`, each in a block: their names may recur.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_IMPORT = re.compile(r'^import .*?"\.\.?/(?P<module>[a-z_]+\.js)";\n', re.MULTILINE)
_WITH_KINDS = "approval.js"


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
    texts[name] = _imported((files("bb_jupyter") / "frontend" / name).read_text("utf-8"), texts)
    if name == _WITH_KINDS:
        for part in sorted((files("bb_jupyter") / "frontend" / "kinds").iterdir(), key=lambda part: part.name):
            texts[f"kinds/{part.name}"] = "{\n" + _imported(part.read_text("utf-8"), texts) + "}"


def _imported(text: str, texts: dict[str, str]) -> str:
    """Return a module's text without its imports, which are added to *texts*."""
    for match in _IMPORT.finditer(text):
        if match["module"] not in texts:
            _collect(match["module"], texts)
    return _IMPORT.sub("", text)
