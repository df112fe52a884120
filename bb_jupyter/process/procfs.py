"""Read processes from /proc (proc(5)).

`backend/bubblewrap/guest.py` reads /proc itself, since it runs alone inside a sandbox and cannot import this module.
"""

from __future__ import annotations

import os

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: Bytes that the line of a process fits into: 52 numbers and a name.
_LINE = 4096


class ProcessStat:
    """The line of a process in /proc/PID/stat.  Fields are parsed when they are asked for.

    Args:
        line: content of the file.
    """

    __slots__ = ("_fields",)

    def __init__(self, line: bytes) -> None:
        # The command name (field 2) is in parentheses and may hold spaces and parentheses itself.
        self._fields = line[line.rindex(b")") + 2 :].split()

    @property
    def ended(self) -> bool:
        """Whether the process has ended and only its entry is left (a zombie)."""
        return self._fields[0] in (b"Z", b"X")

    @property
    def start_time(self) -> int:
        """When the process started, in clock ticks after boot (field 22)."""
        return int(self._fields[19])

    @property
    def cpu_seconds(self) -> float:
        """Processor seconds of the process and of its children that ended (fields 14 to 17)."""
        return sum(map(int, self._fields[11:15])) / _TICKS

    @property
    def memory(self) -> int:
        """Resident bytes (field 24)."""
        return int(self._fields[21]) * _PAGE


def stat(pid: int | str, proc: str = "/proc") -> ProcessStat | None:
    """Return the line of process *pid*; `None` when there is no such process."""
    line = read(f"{proc}/{pid}/stat", _LINE)
    return ProcessStat(line) if line else None


def start_time(pid: int) -> int | None:
    """Return when process *pid* started, in clock ticks after boot; `None` when it is gone or a zombie."""
    found = stat(pid)
    return None if found is None or found.ended else found.start_time


def pid_namespace(pid: int | str, proc: str = "/proc") -> str:
    """Return the pid namespace of process *pid* as text; empty if it is gone or belongs to another user."""
    try:
        return os.readlink(f"{proc}/{pid}/ns/pid")  # noqa: PTH115 -- many processes, often
    except OSError:
        return ""


def read(path: str, size: int = -1) -> bytes:
    """Return up to *size* bytes (negative: all) of a file of /proc; empty when its process is gone."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 -- many files, often
            return file.read(size) or b""
    except OSError:
        return b""
