"""The system calls a bottle may not make, as a classic BPF program for `bwrap --seccomp`.

Denied calls (`shared.seccomp_rules`) fail with EPERM, `clone3` with ENOSYS so that the C library falls back to `clone`,
whose flags a filter can read.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterator

from bb_jupyter.backend.shared.seccomp_rules import DENIED_AARCH64, DENIED_X86_64, FAMILIES

# <linux/filter.h>, <linux/seccomp.h>
_LOAD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
# offsets in struct seccomp_data (little endian: the low half of an argument comes first)
_NR, _ARCH, _ARG0 = 0, 4, 16
_CLONE_NEWUSER = 0x10000000
_X32_BIT = 0x40000000
# machine -> (AUDIT_ARCH_*, denied calls, clone, clone3, socket, socketpair)
_MACHINES = {
    "x86_64": (0xC000003E, DENIED_X86_64, 56, 435, 41, 53),
    "aarch64": (0xC00000B7, DENIED_AARCH64, 220, 435, 198, 199),
}


def supported() -> bool:
    """Whether there is a filter for this machine's processor."""
    return platform.machine() in _MACHINES


def program() -> bytes:
    """Return the filter for this machine as an array of `struct sock_filter`.

    Raises:
        KeyError: there is none (see `supported`).
    """
    return b"".join(_instructions(*_MACHINES[platform.machine()]))


def _instructions(arch: int, denied: dict[str, int], clone: int, clone3: int, *sockets: int) -> Iterator[bytes]:
    yield _op(_LOAD, _ARCH)
    yield from _unless(_JEQ, arch, _KILL_PROCESS)
    yield _op(_LOAD, _NR)
    yield from _when(_JGE, _X32_BIT, _ERRNO | errno.ENOSYS)
    for number in sorted(denied.values()):
        yield from _when(_JEQ, number, _ERRNO | errno.EPERM)
    yield from _when(_JEQ, clone3, _ERRNO | errno.ENOSYS)
    yield _op(_JEQ, clone, 0, 3)
    yield _op(_LOAD, _ARG0)
    yield from _when(_JSET, _CLONE_NEWUSER, _ERRNO | errno.EPERM)
    yield _op(_LOAD, _NR)
    for number in sockets:
        # not this call: over the load, one test a family, and the verdict
        yield _op(_JEQ, number, 0, len(FAMILIES) + 2)
        yield _op(_LOAD, _ARG0)
        for index, family in enumerate(FAMILIES):
            yield _op(_JEQ, family, len(FAMILIES) - index, 0)
        yield _op(_RET, _ERRNO | errno.EAFNOSUPPORT)
        yield _op(_LOAD, _NR)
    yield _op(_RET, _ALLOW)


def _when(test: int, value: int, verdict: int) -> Iterator[bytes]:
    yield _op(test, value, 0, 1)
    yield _op(_RET, verdict)


def _unless(test: int, value: int, verdict: int) -> Iterator[bytes]:
    yield _op(test, value, 1, 0)
    yield _op(_RET, verdict)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
