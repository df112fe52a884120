"""Numbers of requests, as people type them."""

from __future__ import annotations

from bb_jupyter.errors import UsageError


def number(text: str) -> int:
    """Read a request's number.

    Raises:
        UsageError: it is none.
    """
    if not text.removeprefix("#").isdecimal() or len(text) > 13:
        raise UsageError(f"not a number of a request: '{text}'", hint="`%bottle approvals` shows what waits.")
    return int(text.removeprefix("#"))
