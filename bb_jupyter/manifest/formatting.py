"""How types and keys of a manifest are named in error messages."""

from __future__ import annotations

from collections.abc import Mapping

from bb_jupyter.text.visible import quoted

_LONGEST = 60


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
            name = part if part and part.isprintable() and part.isascii() and len(part) <= _LONGEST else quoted(part)
            text += f".{name}" if text else name
    return text
