"""Agents print JSON events, one a line; this returns the words of a line, for logs and lists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

#: Keys whose texts describe what happens, in the events of the built-in agents and likely of others.
_KEYS = frozenset(
    (
        "text", "thinking", "name", "command", "question", "path", "file_path", "pattern", "content", "output",
        "aggregated_output", "result", "message", "error",
    )
)  # fmt: skip
#: Events about the run, not about its work: only their type is shown.
_TYPE_ONLY = frozenset(("system", "usage", "rate_limit_event", "thread.started", "turn.started", "turn.completed"))
#: The beginning of such a text in a line that was cut.
_CUT = re.compile(
    r'"(?:text|thinking|command|output|result|message)":\s?("(?:[^"\\]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*)'
)


def words(line: str) -> str:
    """Return the words of an event; a line that is not an event is returned unchanged."""
    if not line.startswith("{"):
        return line
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        cut = _CUT.search(line)
        return str(json.loads(f'{cut[1]}"', strict=False)) if cut else line
    kind = event.get("type")
    if not isinstance(kind, str):
        return line
    text = " ".join(_texts(event, "")) if kind not in _TYPE_ONLY else ""
    return text or f"· {kind}"


def _texts(value: object, key: str) -> Iterator[str]:
    if isinstance(value, str):
        if key in _KEYS and value.strip():
            yield value.rstrip()
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, name)
