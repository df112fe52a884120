"""The output of a bottle's runs, piece by piece, as the log has it: hostile text, made harmless by who shows it."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bb_jupyter.core import logs
from bb_jupyter.errors import UsageError

#: Bytes of one answer at most, and of a first look at a log's end.
MOST, TAIL = 1 << 20, 1 << 16
#: Bytes of a log that are searched for its last line, and characters of that line.
_END, _LINE = 1 << 13, 500


def read(slug: str, *, run: int = 0, offset: int = -TAIL) -> Mapping[str, Any]:
    """Return a piece of a run's output.

    Args:
        slug: the bottle's.
        run: which one, from 1; 0 for the latest.
        offset: where to begin, in bytes; below 0 so many before the end, at the begin of a line.

    Returns:
        `run`, `runs`, `offset` where `text` begins, `next` where the next piece does, `size`, and `text`.

    Raises:
        UsageError: there is no such run.
    """
    found = logs.logs_of(slug)
    if run > len(found):
        raise UsageError(f"this bottle has {len(found)} logs")
    if not found:
        return {"run": 0, "runs": 0, "offset": 0, "next": 0, "size": 0, "text": ""}
    run = run or len(found)
    start, data, size = _piece(found[run - 1], offset)
    text, used = _decoded(data, at_end=start + len(data) >= size)
    return {"run": run, "runs": len(found), "offset": start, "next": start + used, "size": size, "text": text}


def last_line(slug: str) -> str:
    """Return the last line of the latest run that is not blank; of a long one its beginning."""
    found = logs.logs_of(slug)
    if not found:
        return ""
    _, data, _ = _piece(found[-1], -_END, whole_line=False)
    lines = data.decode("utf-8", "replace").replace("\r", "\n").splitlines()
    return next((line[:_LINE] for line in reversed(lines) if line.strip()), "")


def _piece(path: Path, offset: int, *, whole_line: bool = True) -> tuple[int, bytes, int]:
    """Return where the piece begins, its bytes, and the size of the log."""
    with path.open("rb") as file:
        size = path.stat().st_size
        start = min(offset, size) if offset >= 0 else max(0, size + offset)
        file.seek(start)
        data = file.read(MOST)
    if offset < 0 and start and whole_line:
        skipped = data.find(b"\n") + 1
        start, data = start + skipped, data[skipped:]
    return start, data, size


def _decoded(data: bytes, *, at_end: bool) -> tuple[str, int]:
    """Decode whole characters; one that is cut at the end waits for the next piece, but not for ever."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    waiting = len(decoder.getstate()[0])
    if waiting == len(data) and not at_end:
        return text + decoder.decode(b"", final=True), len(data)
    return text, len(data) - waiting
