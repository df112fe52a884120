"""The script that ends a command with all that it started, run on processes of this test."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bb_jupyter.agent.guest import Guest
from bb_jupyter.agent.process_tree import GONE, interruptible, kill_command
from bb_jupyter.process import procfs

#: Starts a child in a session of its own, whose parent then ends, and one that stays; writes their pids to $1.
_FAMILY = 'setsid sh -c "sleep 300 & echo \\$! >>$1; wait" & sleep 300 & echo $! >>"$1"; '


def _start(script: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sh", "-c", script, "sh", *arguments], start_new_session=True)


def _pids(file: Path, count: int) -> list[int]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if file.exists() and len(pids := file.read_text().split()) >= count:
            return [int(pid) for pid in pids]
        time.sleep(0.01)
    raise AssertionError("it did not start")


def _gone(pids: list[int]) -> bool:
    return all(procfs.start_time(pid) is None for pid in pids)


def test_all_that_it_started_is_killed(tmp_path: Path) -> None:
    leader = _start(_FAMILY + "wait", str(tmp_path / "pids"))
    pids = _pids(tmp_path / "pids", 2)
    done = subprocess.run(kill_command(leader.pid), capture_output=True, check=True, timeout=60)
    assert done.stdout == GONE
    assert _gone(pids) and leader.wait(10) == -9
    assert _gone([os.getpid()]) is False


@pytest.mark.parametrize("ignores", [False, True])
def test_an_agent_is_interrupted_first(tmp_path: Path, ignores: bool) -> None:
    trap = "trap '' INT; " if ignores else f"trap 'echo yes >{tmp_path}/noted; exit 7' INT; "
    leaders: list[subprocess.Popen[bytes]] = []

    def run(argv: list[str], **options: Any) -> Any:
        return SimpleNamespace(wait=lambda: subprocess.run(argv, check=False, timeout=60))

    bottle = cast(Guest, SimpleNamespace(exec=run))
    script = trap + _FAMILY + "while :; do sleep 0.05; done"
    argv, end = interruptible(bottle, str(tmp_path), ["sh", "-c", script, "sh", str(tmp_path / "pids")])
    leaders.append(subprocess.Popen(argv, start_new_session=True))
    pids = _pids(tmp_path / "pids", 2)
    end()
    assert leaders[0].wait(10) == (-9 if ignores else 7)
    assert (tmp_path / "noted").exists() is not ignores
    assert _gone(pids)
    end()  # nobody is left
