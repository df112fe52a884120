"""How values are put into error messages: short, on one line, with nothing that a terminal would obey."""

from __future__ import annotations

from collections.abc import Mapping

_LONGEST = 60


def shown(value: object) -> str:
    """Quote *value* for a message: escapes controls and bidi marks, keeps at most 60 characters."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def kind_of(value: object) -> str:
    """Name the type of a manifest's value in words, without showing the value (it may be a secret)."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else f"a {type(value).__name__}"


def dotted(loc: tuple[str | int, ...]) -> str:
    """Write a location as a dotted key: ``("egress", "routes", 0)`` is ``egress.routes[0]``."""
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if part and part.isprintable() and part.isascii() and len(part) <= _LONGEST else shown(part)
            text += f".{name}" if text else name
    return text
