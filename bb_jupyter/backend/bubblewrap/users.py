"""The user that a bottle's agent is on this host: the user of the kernel, but never root.

If root runs the kernel, the agent gets a uid of this host that no other user has.  bwrap makes the user namespace and
waits while this process maps two users into it (user_namespaces(7)): root, which builds the sandbox, and the agent,
which guest.py becomes before it runs a command.  So the agent has no more access to the files of the host's root than
any other user.
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

#: First of the 65,536 uids of agents: far from those of users, containers and subordinate ranges.
_FIRST = 0x62620000
_COUNT = 1 << 16
#: CAP_SETGID and CAP_SETUID: mapping another user needs both.
_CAPABILITIES = 1 << 6 | 1 << 7


def host_uid(slug: str) -> int:
    """Return the uid (and gid) of the agent of bottle *slug* on this host; 0: the agent is the user of this process."""
    # Without bwrap's own mapping there is no `--disable-userns`: only the filter prevents new user namespaces.
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
    effective = int(re.findall(r"^CapEff:\s*(\w+)", status, re.MULTILINE)[0], 16)
    maps = (Path(f"/proc/self/{name}").read_text() for name in ("uid_map", "gid_map"))
    return (
        effective & _CAPABILITIES == _CAPABILITIES
        and all(map(_covers_agents, maps))
        and _others_may_run(bwrap.guest_python())
    )


def _covers_agents(mapped: str) -> bool:
    """Whether a map of ids (lines of `inside outside count`) covers all uids of agents."""
    lines = [[int(number) for number in line.split()] for line in mapped.splitlines()]
    return any(inside <= _FIRST and inside + count >= _FIRST + _COUNT for inside, _, count in lines)


def _others_may_run(program: Path) -> bool:
    """Whether users other than root may run an interpreter; its other parent folders are made in the sandbox."""
    return bool(program.stat().st_mode & stat.S_IXOTH and program.parent.stat().st_mode & stat.S_IXOTH)
