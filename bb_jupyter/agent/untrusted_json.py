"""Reading JSON from a bottle.  Values may be missing, of another type, or hostile; none of these functions raises."""

from __future__ import annotations

import json
import math
import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")


def json_object(line: str) -> dict[str, Any] | None:
    """Parse *line* as a JSON object; return `None` for anything else."""
    if not line.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(line, strict=False)  # control characters are data; they are made visible when shown
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def at(value: object, *keys: str) -> object:
    """Return the value at a path of keys; `None` for none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def text(value: object, *keys: str) -> str:
    """Return the text at a path, with lone surrogates replaced (no codec encodes them); empty for none."""
    found = at(value, *keys)
    return _SURROGATE.sub("\ufffd", found) if isinstance(found, str) else ""


def objects(value: object, *keys: str) -> list[dict[str, Any]]:
    """Return the objects in the list at a path."""
    found = at(value, *keys)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def number(value: object, *keys: str) -> float | None:
    """Return the finite number of at least 0 at a path."""
    found = at(value, *keys)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    try:
        return float(found) if math.isfinite(found) and found >= 0 else None
    except OverflowError:  # an integer beyond every float
        return None


def count(value: object, *keys: str) -> int:
    """Return the number at a path as an integer; 0 for none."""
    return int(number(value, *keys) or 0)


def dumped(value: object) -> str:
    """Return any JSON value as one line of text."""
    return _SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False, default=str))
