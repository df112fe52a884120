"""Fixtures of microVM tests: the cloud on loopback, and whether a machine boots on this host."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bb_jupyter.backend.smolmachines import kvm
from tests.smolmachines.server import KEY, Cloud

#: Boots the smallest machine there is, in a home of its own.
_PROBE = """
from smol import ConnectOptions, Machine, MachineConfig, ResourceSpec
config = MachineConfig(resources=ResourceSpec(cpus=1, memory_mb=256), ready_timeout_seconds=20)
with Machine.create(config, ConnectOptions(target="local")) as machine:
    assert machine.exec(["true"]).exit_code == 0
"""


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A smol cloud on loopback, which the SDK is led to; its machines end with the test."""
    with Cloud().serving() as serving:
        use_cloud(monkeypatch, serving.url)
        yield serving


def use_cloud(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Lead the SDK to a cloud, and no proxy of the host's in between."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SMOL_CLOUD_URL", url)
    monkeypatch.setenv("SMOL_CLOUD_TOKEN", KEY)
    monkeypatch.setenv("BOT_BOTTLE_SMOL_TARGET", "cloud")


def why_no_machine_boots() -> str:
    """Return why this host runs no microVM; empty when it does.

    Tried only where KVM has hardware behind it, and once after each boot: where none comes up, that takes a minute.
    `BB_SKIP_MICROVM=1` tries nothing, `BB_SKIP_MICROVM=0` whatever this host says.
    """
    wish = os.environ.get("BB_SKIP_MICROVM", "")
    if wish == "1":
        return "BB_SKIP_MICROVM=1"
    if wish != "0" and (why := kvm.without_hardware()):
        return why
    import smol

    available, _, reason = smol.local_availability()
    if not available:
        return str(reason)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    answer = Path(tempfile.gettempdir()) / f"bb-microvm-{os.getuid()}-{boot}"
    with answer.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the workers of one run ask once
        file.seek(0)
        known = file.read()
        if not known:
            known = _probe() or "it boots"
            file.write(known)
    return "" if known == "it boots" else known


def _probe() -> str:
    with tempfile.TemporaryDirectory(prefix="bb-vm-") as home:
        env = {**os.environ, "HOME": home, "XDG_DATA_HOME": f"{home}/data", "XDG_CACHE_HOME": f"{home}/cache"}
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], env=env, capture_output=True, text=True, timeout=280, check=False
        )
    lines = done.stderr.strip().splitlines()
    return "" if done.returncode == 0 else (lines[-1] if lines else f"exit status {done.returncode}")
