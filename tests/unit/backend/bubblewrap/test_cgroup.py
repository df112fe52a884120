"""Where control groups can be made and what is written there, on folders that look like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from bb_jupyter.backend.bubblewrap import cgroup
from bb_jupyter.backend.bubblewrap.cgroup import Cgroup, Parents, create, find_parents
from bb_jupyter.manifest import Limits

LIMITS = Limits.model_validate({"cpus": 1.5, "memory": "64m", "pids": 20})


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    """Return a hierarchy whose group `user/session` holds this process."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids io")
    for folder, given in ((tmp_path / "user", "cpu memory pids io"), (tmp_path / "user/session", "")):
        folder.mkdir()
        (folder / "cgroup.subtree_control").write_text(given)
        (folder / "cgroup.procs").touch()
    return tmp_path


def test_v2(v2: Path) -> None:
    found = find_parents("0::/user/session\n", v2)
    assert found == Parents(2, dict.fromkeys(("cpu", "memory", "pids"), v2 / "user"))


@pytest.mark.parametrize("own", ["0::/\n", "0::/../../elsewhere\n", "", "0::/missing\n"])
def test_v2_where_there_is_no_place(v2: Path, own: str) -> None:
    assert find_parents(own, v2) is None


def test_v1(tmp_path: Path) -> None:
    for name in ("memory", "pids", "cpu,cpuacct", "devices"):
        (tmp_path / name / "job").mkdir(parents=True)
    own = "4:memory:/job\n3:pids:/job\n2:cpu,cpuacct:/job\n1:devices:/job\n0::/\n"
    found = find_parents(own, tmp_path)
    folders = {"memory": "memory/job", "pids": "pids/job", "cpu": "cpu,cpuacct/job"}
    assert found == Parents(1, {name: tmp_path / path for name, path in folders.items()})
    assert find_parents("4:memory:/other\n", tmp_path) is None


class Kernel:
    """Makes the files of a new group, as the kernel does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.names = names
        make = Path.mkdir
        monkeypatch.setattr(Path, "mkdir", lambda path: (make(path), [(path / name).touch() for name in self.names])[0])
        monkeypatch.setattr(Cgroup, "remove", lambda group: self.removed.append(group))
        self.removed: list[Cgroup] = []


def test_limits_of_v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Kernel(monkeypatch, "memory.max", "memory.swap.max", "pids.max", "cpu.max")
    group = create("demo-1", LIMITS, Parents(2, dict.fromkeys(("memory", "pids", "cpu"), tmp_path)))
    folder = tmp_path / "bb-demo-1"
    assert group == Cgroup((folder,))
    written = {path.name: path.read_text() for path in folder.iterdir()}
    assert written == {
        "memory.max": str(64 << 20),
        "memory.swap.max": "0",
        "pids.max": "20",
        "cpu.max": "150000 100000",
    }


def test_limits_of_v1_without_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Kernel(monkeypatch, "memory.limit_in_bytes", "pids.max", "cpu.cfs_period_us", "cpu.cfs_quota_us")
    for name in ("memory", "pids", "cpu"):
        (tmp_path / name).mkdir()
    group = create("demo-1", LIMITS, Parents(1, {name: tmp_path / name for name in ("memory", "pids", "cpu")}))
    assert group and len(group.folders) == 3
    assert (tmp_path / "memory/bb-demo-1/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (tmp_path / "cpu/bb-demo-1/cpu.cfs_quota_us").read_text() == "150000"


def test_nothing_is_left_where_the_kernel_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(monkeypatch)  # no pids.max: the controller is missing
    with pytest.raises(OSError, match=r"pids\.max"):
        create("demo-1", Limits.model_validate({"pids": 20}), Parents(2, {"pids": tmp_path}))
    assert kernel.removed == [Cgroup((tmp_path / "bb-demo-1",))]


def test_no_limit_no_group(tmp_path: Path) -> None:
    assert create("demo-1", Limits(), Parents(2, {"pids": tmp_path})) is None


def test_removal_waits_for_the_dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "_REMOVE", 0.05)
    folder = tmp_path / "bb-demo-1"
    folder.mkdir()
    (folder / "process").touch()
    Cgroup((folder,)).remove()
    assert folder.exists()
    (folder / "process").unlink()
    Cgroup((folder,)).remove()
    Cgroup((folder,)).remove()
    assert not folder.exists()
