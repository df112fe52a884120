"""Sizes and durations as people write them."""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import pairwise

from bb_jupyter.text.visible import quoted

_SIZE = re.compile(r"(\d{1,19}(?:\.\d{1,9})?)\s*(?:([kmgtp])i?)?b?", re.ASCII | re.IGNORECASE)
_SIZE_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SIZE_NAMES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MOST = 2**63 - 1

_SPAN = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*(ms|[dhms])", re.ASCII | re.IGNORECASE)
_BARE = re.compile(r"\d{1,12}(?:\.\d{1,9})?", re.ASCII)
_SECONDS = {"d": Decimal(86400), "h": Decimal(3600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001")}


def parse_size(text: str) -> int:
    """Read a size such as ``4g``, ``512m``, ``1.5GiB`` or ``1048576``.

    Args:
        text: a number with an optional unit; units are powers of 1024, as with ``docker run --memory``.

    Returns:
        Bytes, at least 1; a fraction of a byte is dropped.

    Raises:
        ValueError: it is not a size, or it is 0 or beyond 2^63 - 1.
    """
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError(f"not a size: {quoted(text)} (write 512m, 4g or 1.5GiB)")
    size = int(Decimal(match[1]) * 1024 ** _SIZE_POWERS[(match[2] or "").lower()])
    if not 1 <= size <= _MOST:
        raise ValueError(f"a size must be more than 0 and less than 8 EiB, got {quoted(text)}")
    return size


def parse_duration(text: str) -> float:
    """Read a duration such as ``90``, ``30m``, ``1h30m`` or ``250ms``.

    Args:
        text: seconds, or numbers with units d, h, m, s, ms from the largest to the smallest.

    Returns:
        Seconds, more than 0.

    Raises:
        ValueError: it is not a duration, or it is 0.
    """
    stripped = text.strip().lower()
    seconds = Decimal(stripped) if _BARE.fullmatch(stripped) else _spans(stripped)
    if seconds is None:
        raise ValueError(f"not a duration: {quoted(text)} (write 90, 30s, 5m or 1h30m)")
    if seconds <= 0:
        raise ValueError(f"a duration must be more than 0, got {quoted(text)}")
    return float(seconds)


def _spans(text: str) -> Decimal | None:
    """Add up ``1h 30m``; ``None`` unless units fall from left to right and nothing else stands between."""
    parts = _SPAN.findall(text)
    sizes = [_SECONDS[unit] for _, unit in parts]
    falling = all(left > right for left, right in pairwise(sizes))
    if not parts or not falling or _SPAN.sub("", text).strip():
        return None
    return sum((Decimal(number) * size for (number, _), size in zip(parts, sizes, strict=True)), Decimal(0))


def format_size(size: int) -> str:
    """Write bytes for people, exactly: `parse_size` of the result is *size* again.

    Args:
        size: bytes, at least 1.
    """
    for power in range(len(_SIZE_NAMES) - 1, 0, -1):
        hundredths = round(Decimal(size) / 1024**power, 2).normalize()
        if hundredths >= 1 and int(hundredths * 1024**power) == size:
            return f"{hundredths:f} {_SIZE_NAMES[power]}"
    return f"{size} B"


def about_size(size: int) -> str:
    """Return *size* bytes for people, rounded: `1023 B`, `1.5 KiB`, `2.0 GiB`."""
    amount, units = float(size), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount /= 1024
        del units[0]
    return f"{amount:.1f} {units[0]}" if amount != size else f"{size} B"


def format_duration(seconds: float) -> str:
    """Write seconds for people, such as ``1h30m`` or ``250ms``; a part below a millisecond is rounded.

    Args:
        seconds: at least 0.
    """
    rest = round(seconds * 1000)
    text = ""
    for unit, size in _SECONDS.items():
        count, rest = divmod(rest, int(size * 1000))
        text += f"{count}{unit}" if count else ""
    return text or "0s"
