"""What bottles use, read from a folder that stands for /proc."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from bb_jupyter.backend.state import BottleRecord
from bb_jupyter.process.identity import ProcessIdentity
from bb_jupyter.webapi.usage import measure

_PAGE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
_ID = "0123456789abcdef" * 4


def record(slug: str, created: float = 0, **details: Any) -> BottleRecord:
    return BottleRecord(slug, slug, "docker", ProcessIdentity.current(), created or time.time(), details=details)


def process(
    proc: Path, pid: int, *, cgroup: str = "0::/", space: str = "pid:[1]", used: int = 0, pages: int = 0
) -> None:
    """Write what /proc says of a process; *used* counts ticks, of itself and of its children."""
    folder = proc / str(pid)
    (folder / "ns").mkdir(parents=True)
    (folder / "ns" / "pid").symlink_to(space)
    (folder / "cgroup").write_text(cgroup + "\n")
    times = f"{used} 0 {used} 0" if used else "0 0 0 0"
    (folder / "stat").write_text(f"{pid} (a) b) ) S 1 1 1 0 -1 0 0 0 0 0 {times} 20 0 1 0 5 1000 {pages} 1\n")


@pytest.mark.parametrize(
    "cgroup",
    [
        f"0::/docker/{_ID}",
        f"0::/system.slice/docker-{_ID}.scope",
        f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{_ID}.scope/container",
        f"12:cpu,cpuacct:/docker/{_ID}\n11:memory:/docker/{_ID}\n0::/system.slice/containerd.service",
        f"0::/docker/{'f' * 64}/docker/{_ID}",
    ],
)
def test_processes_of_a_container_whoever_made_its_control_group(tmp_path: Path, cgroup: str) -> None:
    process(tmp_path, 10, cgroup=cgroup, pages=3)
    process(tmp_path, 11, cgroup=cgroup, pages=4)
    process(tmp_path, 12, cgroup="0::/user.slice", pages=100)
    process(tmp_path, 13, cgroup=f"0::/docker/{'e' * 64}", pages=100)
    (tmp_path / "self").mkdir()
    [(slug, used)] = measure([record("demo-1", container=_ID), record("other-1", container="d" * 64)], tmp_path).items()
    assert (slug, used.memory) == ("demo-1", 7 * _PAGE)


def test_processes_of_a_namespace_and_none_without_any_process(tmp_path: Path) -> None:
    process(tmp_path, 20, space="pid:[7]", pages=5)
    process(tmp_path, 21, space="pid:[7]", pages=5)
    process(tmp_path, 22, space="pid:[8]", pages=5)
    found = measure([record("demo-2", pid=20), record("gone-2", pid=99), record("machine-2")], tmp_path)
    assert {slug: used.memory for slug, used in found.items()} == {"demo-2": 10 * _PAGE}


def test_processors_since_the_launch_at_first_then_held_for_all_who_ask(tmp_path: Path) -> None:
    process(tmp_path, 30, cgroup=f"0::/docker/{_ID}", used=50 * _TICKS)
    demo = record("demo-3", created=time.time() - 200, container=_ID)
    first = measure([demo], tmp_path)["demo-3"]
    assert first.cpu == pytest.approx(0.5, abs=0.02)
    assert measure([demo], tmp_path)["demo-3"] == first
