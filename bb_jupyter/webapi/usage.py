"""What bottles use of this machine: one look at /proc for all of them, no question to any engine.

A bottle's processes are those of its pid namespace (bubblewrap: the namespace of the PID 1 that its record names), or
those whose control group's path holds its container's id: every engine and driver writes that in full, whatever else
it puts around it (`/docker/ID`, `/system.slice/docker-ID.scope`, `libpod-ID.scope`; cgroups(7), version 1 and 2).
Of an engine on another machine, or in a virtual machine of its own, no process is seen and nothing is known.  So it is
with smolmachines: its SDK tells of one machine at a time, by a question to it, and no record names its process.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bb_jupyter.backend.state import BottleRecord
from bb_jupyter.process import procfs

_ID = re.compile(rb"[0-9a-f]{64}")
#: Seconds that a number holds: several pages ask for the same ones.
_HOLDS = 0.5


@dataclass(frozen=True)
class Usage:
    """What one bottle uses.

    Attributes:
        cpu: processors in use since the last look (the first time: since the launch), such as 0.5; `None` if unknown.
        memory: resident bytes; `None` when unknown.
    """

    cpu: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class _Look:
    """One look at a bottle: when, in seconds since the epoch, the processor seconds used by then, and what we said."""

    at: float
    seconds: float
    usage: Usage


#: The last look at each bottle, by slug.
_looks: dict[str, _Look] = {}


def measure(records: Iterable[BottleRecord], proc: Path = Path("/proc")) -> Mapping[str, Usage]:
    """Return what bottles use, by slug; those of which nothing is known are left out.

    Args:
        records: of the bottles.
        proc: where the processes are found (proc(5)).
    """
    known = {record.slug: record for record in records}
    used: dict[str, tuple[float, int]] = {}
    for slug, seconds, memory in _shares(known.values(), str(proc)):
        before = used.get(slug, (0.0, 0))
        used[slug] = (before[0] + seconds, before[1] + memory)
    for gone in _looks.keys() - used.keys():
        _looks.pop(gone, None)
    return {slug: _usage(known[slug], seconds, memory) for slug, (seconds, memory) in used.items()}


def _usage(record: BottleRecord, seconds: float, memory: int) -> Usage:
    now = time.time()
    last = _looks.get(record.slug) or _Look(record.created, 0.0, Usage())
    if 0 <= now - last.at < _HOLDS and last.usage.cpu is not None:
        return last.usage
    # CPU time of an exec'd process disappears when it exits, so the sum can decrease.
    cpu = max(0.0, seconds - last.seconds) / max(now - last.at, _HOLDS)
    _looks[record.slug] = _Look(now, seconds, Usage(round(cpu, 2), memory))
    return _looks[record.slug].usage


def _shares(records: Iterable[BottleRecord], proc: str) -> Iterator[tuple[str, float, int]]:
    """Yield slug, processor seconds and resident bytes of every process of a bottle."""
    spaces, containers = {}, {}
    for record in records:
        pid = record.details.get("pid")
        if isinstance(pid, int) and (space := procfs.pid_namespace(pid, proc)):
            spaces[space] = record.slug
        if container := record.details.get("container"):
            containers[str(container).encode()] = record.slug
    for name in os.listdir(proc) if spaces or containers else ():  # noqa: PTH208 -- names, not paths
        if not name.isdigit():
            continue
        slug = spaces.get(procfs.pid_namespace(name, proc)) or _in_container(proc, name, containers)
        if slug and (stat := procfs.stat(name, proc)):
            yield slug, stat.cpu_seconds, stat.memory


def _in_container(proc: str, pid: str, containers: Mapping[bytes, str]) -> str:
    """Return the slug of the bottle that a process is in; containers in a container count, too."""
    if not containers:
        return ""
    path = procfs.read(f"{proc}/{pid}/cgroup")
    return next((containers[found] for found in _ID.findall(path) if found in containers), "")
