"""The filter of system calls, run on every call by a little interpreter of classic BPF."""

from __future__ import annotations

import errno
import struct

import pytest

from bb_jupyter.backend.bubblewrap import seccomp
from bb_jupyter.backend.shared.seccomp_rules import DENIED_AARCH64, DENIED_X86_64, FAMILIES

X86, ARM = 0xC000003E, 0xC00000B7
ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS, EAFNOSUPPORT = (0x00050000 | number for number in (errno.EPERM, errno.ENOSYS, errno.EAFNOSUPPORT))


def verdict(program: bytes, call: int, argument: int = 0, arch: int = X86) -> int:
    """Run the filter (<linux/filter.h>) on one call."""
    data = struct.pack("=IIQ", call, arch, 0) + struct.pack("=6Q", argument, 0, 0, 0, 0, 0)
    lines = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = lines[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif code == 0x06:
            return value
        else:
            test = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
            at += if_true if test else if_false


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, int, dict[str, int]]:
    monkeypatch.setattr("platform.machine", lambda: request.param)
    x86 = request.param == "x86_64"
    return seccomp.program(), X86 if x86 else ARM, DENIED_X86_64 if x86 else DENIED_AARCH64


def _numbers(arch: int) -> tuple[int, int, int, int]:
    """Return clone, clone3, socket and socketpair."""
    return (56, 435, 41, 53) if arch == X86 else (220, 435, 198, 199)


def test_every_call(machine: tuple[bytes, int, dict[str, int]]) -> None:
    program, arch, denied = machine
    clone, clone3, *sockets = _numbers(arch)
    for call in range(600):
        if call in denied.values():
            assert verdict(program, call, arch=arch) == EPERM, call
        elif call == clone3:
            assert verdict(program, call, arch=arch) == ENOSYS
        elif call not in (clone, *sockets):
            assert verdict(program, call, arch=arch) == ALLOW, call


def test_no_new_user_namespace(machine: tuple[bytes, int, dict[str, int]]) -> None:
    program, arch, _ = machine
    clone = _numbers(arch)[0]
    assert verdict(program, clone, 0x10000000 | 17, arch) == EPERM
    assert verdict(program, clone, 17, arch) == ALLOW


def test_families(machine: tuple[bytes, int, dict[str, int]]) -> None:
    program, arch, _ = machine
    for call in _numbers(arch)[2:]:
        for family in range(64):
            assert verdict(program, call, family, arch) == (ALLOW if family in FAMILIES else EAFNOSUPPORT)
        # The kernel looks at the low 32 bits alone, and so does the filter.
        assert verdict(program, call, 1 << 32 | 40, arch) == EAFNOSUPPORT


def test_other_architectures_are_killed(machine: tuple[bytes, int, dict[str, int]]) -> None:
    program, arch, _ = machine
    assert verdict(program, 0, arch=0x40000003) == KILL  # 32-bit calls have other numbers
    assert verdict(program, 0, arch=ARM if arch == X86 else X86) == KILL


def test_x32_is_not_there(machine: tuple[bytes, int, dict[str, int]]) -> None:
    program, arch, _ = machine
    assert verdict(program, 0x40000000, arch=arch) == ENOSYS
    assert verdict(program, 0x40000000 | 165, arch=arch) == ENOSYS


def test_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert not seccomp.supported()
    with pytest.raises(KeyError):
        seccomp.program()
