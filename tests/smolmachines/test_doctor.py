"""What doctor says of a host that cannot run microVMs: the exact fix."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bb_jupyter.backend import Check, registry
from bb_jupyter.backend.smolmachines import kvm, sdk
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.errors import BackendUnavailable

pytestmark = pytest.mark.smolmachines


@pytest.fixture(autouse=True)
def _no_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMOL_CLOUD_TOKEN", raising=False)


def checks() -> dict[str, Check]:
    return {check.name: check for check in registry.get("smolmachines").diagnose()}


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("UNSUPPORTED_PLATFORM", "use the cloud (SMOL_CLOUD_TOKEN), or --backend docker"),
        ("RUNTIME_NOT_INSTALLED", "pip install --force-reinstall smolmachines"),
    ],
)
def test_what_the_sdk_misses(monkeypatch: pytest.MonkeyPatch, code: str, fix: str) -> None:
    monkeypatch.setattr("smol.local_availability", lambda: (False, code, "it says\nwhy"))
    check = checks()["microVMs here"]
    assert (check.verdict, check.detail, check.fix) == ("warning", "it says why", fix)


def test_kvm_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("smol.local_availability", lambda: (False, "KVM_UNAVAILABLE", "no /dev/kvm"))
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "kvm")
    assert "modprobe kvm_intel" in checks()["microVMs here"].fix


def test_kvm_without_hardware(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bottle_name: str, home: Path) -> None:
    """The SDK finds nothing wrong with it; what would take half a minute to fail is told before."""
    monkeypatch.setattr("smol.local_availability", lambda: (True, None, None))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(kvm, "_MODULES", tmp_path)
    for name in ("kvm", "kvm_pvm"):
        (tmp_path / name).mkdir()
    check = checks()["microVMs here"]
    assert check.verdict == "warning" and "kvm_pvm" in check.detail and "nested virtualisation" in check.fix
    plan = Session().plan(bottle_name, LaunchOptions(backend="smolmachines", image=str(tmp_path)))
    assert "it will probably not boot" in plan.text()
    (tmp_path / "kvm_amd").mkdir()
    assert checks()["microVMs here"].verdict == "ok"


def test_kvm_that_is_not_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "kvm").touch()
    monkeypatch.setattr("smol.local_availability", lambda: (False, "KVM_UNAVAILABLE", "permission denied"))
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "kvm")
    monkeypatch.setattr(kvm, "_MODULES", tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "kvm")
    assert checks()["microVMs here"].fix == "sudo usermod -aG kvm $USER, then log in again"


def test_a_kernel_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.release", lambda: "4.19.0-26-amd64")
    check = checks()["kernel"]
    assert (check.verdict, check.detail) == ("failed", "Linux 4.19.0-26-amd64")


def test_an_sdk_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.9.4")
    assert checks()["smolmachines"].fix == "pip install --upgrade smolmachines"


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks()["smol cloud"].fix == "set SMOL_CLOUD_TOKEN to use it"


def test_an_sdk_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, bottle_name: str) -> None:
    monkeypatch.setattr(sdk, "find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "smol", None)
    (check,) = registry.get("smolmachines").diagnose()
    assert check.fix == "pip install 'bb-jupyter[smolmachines]'"
    assert not registry.get("smolmachines").is_available()
    with pytest.raises(BackendUnavailable, match="not installed") as caught:
        Session().plan(bottle_name, LaunchOptions(backend="smolmachines"))
    assert "pip install 'bb-jupyter[smolmachines]'" in caught.value.hint


def test_the_sdk_is_not_imported_before_it_is_chosen() -> None:
    import subprocess
    import sys

    program = (
        "import sys; from bb_jupyter.backend import registry; registry.available(); registry.enumerate_active();"
        "registry.get('smolmachines').is_available(); assert 'smol' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "SMOL_CLOUD_TOKEN": "smk_x"})
