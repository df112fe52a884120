"""The identity of a process, by which another process can tell whether it still lives: the owner of a bottle.

A pid alone is reused; boot id, pid and start time together are not.  The host name distinguishes this machine after a
reboot (its old bottles are orphans) from another machine that shares the engine or the home (its bottles are not ours).
"""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bb_jupyter.process import procfs


@dataclass(frozen=True)
class ProcessIdentity:
    """The process that launched a bottle.

    Attributes:
        host: host name of its machine (or container).
        boot_id: `/proc/sys/kernel/random/boot_id` of that machine.
        pid_namespace: inode of its pid namespace; a pid means something only inside it.
        pid: its process id there.
        start_time: its start in clock ticks after boot (`/proc/PID/stat`, field 22).
    """

    host: str
    boot_id: str
    pid_namespace: int
    pid: int
    start_time: int

    @classmethod
    def current(cls) -> ProcessIdentity:
        """Return this process."""
        return _identity_of(os.getpid())

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ProcessIdentity:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: a field is missing or of another type.
        """
        try:
            return cls(**{name: kind(data[name]) for name, kind in _FIELDS.items()})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an owner: {data!r}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for a label or a JSON file."""
        return asdict(self)

    @property
    def alive(self) -> bool:
        """Whether the process may still live: `False` only if its death is certain."""
        here = ProcessIdentity.current()
        if self.host != here.host:
            return True
        if self.boot_id != here.boot_id:
            return False
        if self.pid_namespace != here.pid_namespace:
            return True
        return procfs.start_time(self.pid) == self.start_time

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


_FIELDS = {"host": str, "boot_id": str, "pid_namespace": int, "pid": int, "start_time": int}


@cache
def _identity_of(pid: int) -> ProcessIdentity:
    return ProcessIdentity(
        host=platform.node(),
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        pid_namespace=Path("/proc/self/ns/pid").stat().st_ino,
        pid=pid,
        start_time=procfs.start_time(pid) or 0,
    )
