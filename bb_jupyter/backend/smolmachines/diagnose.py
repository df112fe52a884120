"""The checks of `%bottle doctor` for microVMs: the SDK, this host's virtualisation, the cloud."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata

from bb_jupyter.backend.base import Check
from bb_jupyter.backend.smolmachines import kvm, sdk
from bb_jupyter.errors import BottleError

#: Oldest Linux that the SDK's engine runs on, and the oldest SDK that this backend was written for.
_KERNEL, _SDK = (5, 4), (1, 32)
_FIXES = {
    "UNSUPPORTED_PLATFORM": "use the cloud (SMOL_CLOUD_TOKEN), or --backend docker",
    "RUNTIME_NOT_INSTALLED": "pip install --force-reinstall smolmachines",
}


def diagnose() -> list[Check]:
    """Check the SDK, KVM, and the cloud if there is a key."""
    return list(_checks())


def _checks() -> Iterator[Check]:
    if not sdk.installed():
        yield Check("smolmachines", "warning", "the SDK is not installed", "pip install 'bb-jupyter[smolmachines]'")
        return
    version = metadata.version("smolmachines")
    old = _numbers(version) < _SDK
    fix = "pip install --upgrade smolmachines"
    yield Check("smolmachines", "failed" if old else "ok", f"SDK {version}", fix if old else "")
    yield from _here()
    yield _cloud()


def _here() -> Iterator[Check]:
    import smol

    release = platform.release()
    if platform.system() == "Linux" and _numbers(release) < _KERNEL:
        yield Check("kernel", "failed", f"Linux {release}", "microVMs on this host need Linux 5.4 or newer")
    available, code, reason = smol.local_availability()
    if available and (why := kvm.without_hardware()):
        yield Check("microVMs here", "warning", f"{why}; no microVM will boot", kvm.fix())
    elif available:
        yield Check("microVMs here", "ok", "the SDK reports no problem; only a launch shows whether a microVM boots")
    else:
        detail = " ".join(str(reason).split())
        yield Check("microVMs here", "warning", detail, _FIXES.get(code or "") or kvm.fix())


def _cloud() -> Check:
    if not os.environ.get(sdk.TOKEN):
        return Check("smol cloud", "warning", "no key", f"set {sdk.TOKEN} to use it")
    try:
        from smol import Machine

        with sdk.errors("ask the smol cloud"):
            Machine.probe(sdk.connection("cloud"))
    except BottleError as error:
        return Check("smol cloud", "failed", error.message, error.hint)
    return Check("smol cloud", "ok", "the key is accepted")


def _numbers(version: str) -> tuple[int, ...]:
    numbers = []
    for part in version.split(".")[:2]:
        digits = part.split("-")[0]
        numbers.append(int(digits) if digits.isdigit() else 0)
    return tuple(numbers)
