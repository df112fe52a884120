"""What bottles use of this machine: one look at /proc for all of them, no question to any engine.

A bottle's processes are those of its pid namespace (bubblewrap: the namespace of the PID 1 that its record names).
Where another user runs them, as an engine does, nothing is known.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bb_jupyter.backend.state import BottleRecord

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """What one bottle uses.

    Attributes:
        cpu: processors in use since the last look, such as 0.5; `None` when unknown.
        memory: resident bytes; `None` when unknown.
    """

    cpu: float | None = None
    memory: int | None = None


#: Slug → when it was looked at last, in monotonic seconds, and the processor seconds it had used.
_before: dict[str, tuple[float, float]] = {}


def measure(records: Iterable[BottleRecord]) -> Mapping[str, Usage]:
    """Return what bottles use, by slug; those of which nothing is known are left out."""
    spaces = {space: record.slug for record in records if (space := _namespace(record.details.get("pid")))}
    seconds: dict[str, float] = defaultdict(float)
    memory: dict[str, int] = defaultdict(int)
    for pid in _pids() if spaces else ():
        slug = spaces.get(_namespace(pid) or "")
        if slug and (used := _of(pid)):
            seconds[slug] += used[0]
            memory[slug] += used[1]
    return {slug: Usage(_cpu(slug, seconds[slug]), memory[slug]) for slug in seconds}


def _cpu(slug: str, seconds: float) -> float | None:
    now = time.monotonic()
    then, used = _before.get(slug, (now, seconds))
    _before[slug] = (now, seconds)
    # Processes that ended took their share with them: a sum may shrink.
    return round(max(0.0, seconds - used) / (now - then), 2) if now - then > 0.05 else None


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 -- names, not paths


def _namespace(pid: object) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid") if isinstance(pid, int) else None  # noqa: PTH115
    except OSError:
        return None


def _of(pid: int) -> tuple[float, int] | None:
    """Return the processor seconds and resident bytes of a process (proc(5), /proc/pid/stat, fields 14, 15, 24)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
            stat = file.read()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS, int(fields[21]) * _PAGE
