"""The output of a bottle's runs, piece by piece.  It is hostile text: the page makes it visible."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bb_jupyter.core import logs
from bb_jupyter.errors import UsageError
from bb_jupyter.webapi.event_text import words

#: Bytes of one answer at most, and of a first look at a log's end.
MOST, TAIL = 1 << 20, 1 << 16
#: Bytes of a log that are searched for its last line, and characters of that line.
_END, _LINE = 1 << 13, 500
#: Most characters of a line that has not ended yet.
_PARTIAL = 1 << 16


def read(slug: str, *, run: int = 0, offset: int = -TAIL, events: bool = False) -> Mapping[str, Any]:
    """Return a piece of a run's output.

    Args:
        slug: the bottle's.
        run: which one, from 1; 0 for the latest.
        offset: where to begin, in bytes; a negative one counts from the end, and moves to the start of a line.
        events: the lines are an agent's events, and their words are wanted.

    Returns:
        `run`; `runs`, their number; `offset`, where `text` begins; `next`, where the next piece begins; `size` of the
        log; `text`, with *events* of whole lines alone; and then `partial`, the words of a last line that has not
        ended: the next piece begins with that line.

    Raises:
        UsageError: there is no such run.
    """
    found = logs.logs_of(slug)
    if run > len(found):
        raise UsageError(f"this bottle has {len(found)} logs")
    if not found:
        return {"run": 0, "runs": 0, "offset": 0, "next": 0, "size": 0, "text": "", "partial": None}
    run = run or len(found)
    start, data, size = _piece(found[run - 1], offset)
    partial = None
    if events:
        text, partial, used = _words(data)
    else:
        text, used = _decoded(data, at_end=start + len(data) >= size)
    place = {"run": run, "runs": len(found), "offset": start, "next": start + used, "size": size}
    return {**place, "text": text, "partial": partial}


def last_line(slug: str, *, events: bool = False) -> str:
    """Return the last line of the latest run that is not blank; of a long line its beginning.

    Args:
        slug: the bottle's.
        events: the lines are an agent's events, and their words are wanted.
    """
    found = logs.logs_of(slug)
    if not found:
        return ""
    _, data, _ = _piece(found[-1], -_END, whole_line=False)
    lines = data.decode("utf-8", "replace").replace("\r", "\n").splitlines()
    line = next((line[:_LINE] for line in reversed(lines) if line.strip()), "")
    return words(line).strip().rpartition("\n")[2] if events else line


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


def _words(data: bytes) -> tuple[str, str, int]:
    """Return the words of the whole lines, those of the line that has not ended, and how many bytes the first took."""
    used = data.rfind(b"\n") + 1
    if not used and len(data) == MOST:  # one line that is longer than a piece
        return words(data.decode("utf-8", "replace")) + "\n", "", MOST
    lines = data[:used].decode("utf-8", "replace").split("\n")
    return "\n".join(map(words, lines)), words(data[used:].decode("utf-8", "replace"))[:_PARTIAL], used


def _decoded(data: bytes, *, at_end: bool) -> tuple[str, int]:
    """Decode whole characters; one that is cut at the end belongs to the next piece, if more can come."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    waiting = len(decoder.getstate()[0])
    if waiting == len(data) and not at_end:
        return text + decoder.decode(b"", final=True), len(data)
    return text, len(data) - waiting
