"""Whether this host's KVM can run a machine, as far as its files show, and how to make it usable."""

from __future__ import annotations

import os
import platform
from pathlib import Path

DEVICE = Path("/dev/kvm")
_MODULES = Path("/sys/module")
#: Modules that use hardware virtualisation (Intel, AMD).  Others, such as kvm_pvm, run only kernels made for them.
_HARDWARE = ("kvm_intel", "kvm_amd")


def without_hardware() -> str:
    """Return why no machine will boot although there is /dev/kvm; empty if no reason is known.

    On such a host the SDK reports no problem, and a launch fails after half a minute without a message.
    """
    if platform.machine() not in ("x86_64", "AMD64") or not (_MODULES / "kvm").is_dir():
        return ""
    if any((_MODULES / name).is_dir() for name in _HARDWARE):
        return ""
    instead = sorted(path.name for path in _MODULES.glob("kvm_*"))
    return f"KVM has no hardware behind it: neither {' nor '.join(_HARDWARE)} is loaded" + (
        f", but {', '.join(instead)}" if instead else ""
    )


def fix() -> str:
    """Return the command that makes KVM usable for this user, as far as files show it."""
    if not DEVICE.exists() or without_hardware():
        return "sudo modprobe kvm_intel || sudo modprobe kvm_amd (in a VM: switch nested virtualisation on for it)"
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return "sudo usermod -aG kvm $USER, then log in again"
    return "see the message; `dmesg | grep kvm` may tell more"
