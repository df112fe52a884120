"""Whom this host takes a bottle's agent for: the user of the kernel, but never root.

When root runs the kernel, the agent gets a uid of this host that nobody else has.  bwrap makes the user namespace and
waits while we map two users into it (user_namespaces(7)): root, who builds the sandbox, and the agent, whom guest.py
becomes before it runs anything.  What belongs to the host's root is then as closed to the agent as to any other user.
"""

from __future__ import annotations

import os
import re
import stat
import zlib
from functools import cache
from pathlib import Path

from bb_jupyter.backend.bubblewrap import bwrap, seccomp
from bb_jupyter.backend.plan import GUEST_UID

#: First of the 65,536 uids of agents: far from those that hosts, containers and subordinate ranges give.
_FIRST = 0x62620000
_COUNT = 1 << 16
#: CAP_SETGID and CAP_SETUID, which writing another user into a map needs.
_CAPABILITIES = 1 << 6 | 1 << 7


def host_uid(slug: str) -> int:
    """Return the uid (and gid) that the agent of bottle *slug* has on this host; 0: that of this process."""
    # Only the filter keeps a sandbox that bwrap has not mapped from making namespaces of its own.
    if os.geteuid() != 0 or not seccomp.supported() or not _can_map():
        return 0
    return _FIRST + zlib.crc32(slug.encode()) % _COUNT


def map_users(pid: int, uid: int) -> None:
    """Map root and the agent into the user namespace of process *pid*.

    Raises:
        OSError: the kernel refuses.
    """
    for name in ("gid_map", "uid_map"):
        Path(f"/proc/{pid}/{name}").write_text(f"0 0 1\n{GUEST_UID} {uid} 1\n")


@cache
def _can_map() -> bool:
    status = Path("/proc/self/status").read_text()
    held = int(re.findall(r"^CapEff:\s*(\w+)", status, re.MULTILINE)[0], 16)
    maps = (Path(f"/proc/self/{name}").read_text() for name in ("uid_map", "gid_map"))
    return held & _CAPABILITIES == _CAPABILITIES and all(map(_has_room, maps)) and _others_may_run(bwrap.guest_python())


def _has_room(mapped: str) -> bool:
    """Whether a map of ids, lines of `inside outside count`, has all of those that agents get."""
    lines = [[int(number) for number in line.split()] for line in mapped.splitlines()]
    return any(inside <= _FIRST and inside + count >= _FIRST + _COUNT for inside, _, count in lines)


def _others_may_run(program: Path) -> bool:
    """Whether an interpreter is not closed to all but root; the way to it is the sandbox's own."""
    return bool(program.stat().st_mode & stat.S_IXOTH and program.parent.stat().st_mode & stat.S_IXOTH)
