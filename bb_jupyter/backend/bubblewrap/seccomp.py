"""The system calls a bottle may not make, as a classic BPF program for `bwrap --seccomp`.

A deny list on top of the namespaces: what opens kernel surface that no agent needs (new user namespaces, mounts, bpf,
keys, io_uring, modules) and the address families that network namespaces do not cover (AF_VSOCK reaches the
hypervisor).  Denied calls fail with EPERM, `clone3` with ENOSYS so that the C library falls back to `clone`, whose
flags a filter can read.  The choice follows the default profiles of Docker and Flatpak.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterator

# <linux/filter.h>, <linux/seccomp.h>
_LOAD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
# offsets in struct seccomp_data (little endian: the low half of an argument comes first)
_NR, _ARCH, _ARG0 = 0, 4, 16
_CLONE_NEWUSER = 0x10000000
_X32_BIT = 0x40000000
#: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: what a program without hardware needs.
FAMILIES = (1, 2, 10, 16)

_DENIED_X86_64 = {
    "syslog": 103, "quotactl": 179, "nfsservctl": 180, "_sysctl": 156, "acct": 163, "settimeofday": 164,
    "clock_settime": 227, "adjtimex": 159, "clock_adjtime": 305, "mount": 165, "umount2": 166, "pivot_root": 155,
    "chroot": 161, "swapon": 167, "swapoff": 168, "reboot": 169, "iopl": 172, "ioperm": 173, "create_module": 174,
    "init_module": 175, "delete_module": 176, "finit_module": 313, "kexec_load": 246, "kexec_file_load": 320,
    "unshare": 272, "setns": 308, "add_key": 248, "request_key": 249, "keyctl": 250, "perf_event_open": 298,
    "bpf": 321, "userfaultfd": 323, "open_by_handle_at": 304, "lookup_dcookie": 212, "io_uring_setup": 425,
    "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442, "move_pages": 279, "mbind": 237,
    "set_mempolicy": 238, "migrate_pages": 256, "fanotify_init": 300, "uselib": 134, "ustat": 136, "sysfs": 139,
    "vhangup": 153, "modify_ldt": 154,
}  # fmt: skip
_DENIED_AARCH64 = {
    "syslog": 116, "quotactl": 60, "nfsservctl": 42, "acct": 89, "settimeofday": 170, "clock_settime": 112,
    "adjtimex": 171, "clock_adjtime": 266, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51,
    "swapon": 224, "swapoff": 225, "reboot": 142, "init_module": 105, "delete_module": 106, "finit_module": 273,
    "kexec_load": 104, "kexec_file_load": 294, "unshare": 97, "setns": 268, "add_key": 217, "request_key": 218,
    "keyctl": 219, "perf_event_open": 241, "bpf": 280, "userfaultfd": 282, "open_by_handle_at": 265,
    "lookup_dcookie": 18, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
    "move_pages": 239, "mbind": 235, "set_mempolicy": 237, "migrate_pages": 238, "fanotify_init": 262,
    "vhangup": 58,
}  # fmt: skip
#: The names of all denied calls; a processor may lack some.
DENIED = frozenset({*_DENIED_X86_64, *_DENIED_AARCH64})
# machine -> (AUDIT_ARCH_*, denied calls, clone, clone3, socket, socketpair)
_MACHINES = {
    "x86_64": (0xC000003E, _DENIED_X86_64, 56, 435, 41, 53),
    "aarch64": (0xC00000B7, _DENIED_AARCH64, 220, 435, 198, 199),
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
