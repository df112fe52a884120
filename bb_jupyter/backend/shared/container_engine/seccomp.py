"""The system calls a container may not make: the same as in a bubblewrap bottle, in place of the engine's own profile.

No network namespace covers AF_VSOCK, by which a virtual machine speaks with its hypervisor.  Engines' profiles let it
through (tried on 20.10.24), or do so for 32-bit programs, whose `socketcall` hides the family from every filter
(moby #44562, #53551).  Here other families than those of ordinary programs, and other architectures, are refused.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from bb_jupyter.backend.shared.seccomp_rules import DENIED, FAMILIES

#: As the engine names this machine → as libseccomp does.
_ARCHITECTURES = {
    **dict.fromkeys(("x86_64", "amd64"), "SCMP_ARCH_X86_64"),
    **dict.fromkeys(("aarch64", "arm64"), "SCMP_ARCH_AARCH64"),
}
#: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET of <linux/sched.h>.
_NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)


def profile(info: Mapping[str, Any]) -> str:
    """Return the profile that an engine takes for a container, as JSON.

    Args:
        info: what the engine says of itself.

    Returns:
        Nothing where the engine has no filters, or a processor whose calls are not known here.
    """
    has_filters = any("seccomp" in str(option) for option in info.get("SecurityOptions") or ())
    architecture = _ARCHITECTURES.get(str(info.get("Architecture")))
    return _profile(architecture) if has_filters and architecture else ""


@cache
def _profile(architecture: str) -> str:
    """Return the profile (OCI runtime specification, `linux.seccomp`, in the engine's spelling)."""
    other = [family for family in range(max(FAMILIES)) if family not in FAMILIES]
    families = [("SCMP_CMP_EQ", family, 0) for family in other] + [("SCMP_CMP_GT", max(FAMILIES), 0)]
    calls = [_refused(sorted(DENIED)), _refused(["clone3"], error=errno.ENOSYS)]
    calls += [_refused(["clone"], ("SCMP_CMP_MASKED_EQ", flag, flag)) for flag in _NAMESPACES]
    calls += [_refused(["socket", "socketpair"], family, error=errno.EAFNOSUPPORT) for family in families]
    return json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [architecture], "syscalls": calls})


def _refused(
    names: list[str], condition: tuple[str, int, int] | None = None, *, error: int = errno.EPERM
) -> dict[str, Any]:
    """Return a rule: these calls fail with *error*, if their first argument compares so."""
    rule: dict[str, Any] = {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": error}
    if condition:
        operator, value, second = condition
        rule["args"] = [{"index": 0, "value": value, "valueTwo": second, "op": operator}]
    return rule
