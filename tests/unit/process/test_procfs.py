"""Reading /proc: names with parentheses, zombies, processes that are gone."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from bb_jupyter.process import procfs


def test_a_name_that_looks_like_fields(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    numbers = " ".join(map(str, range(4, 53)))
    (tmp_path / "7/stat").write_bytes(b"7 (a) R 1 (b\n) S " + numbers.encode() + b"\n")
    found = procfs.stat(7, str(tmp_path))
    assert found and not found.ended
    assert found.start_time == 22
    assert found.cpu_seconds == (14 + 15 + 16 + 17) / os.sysconf("SC_CLK_TCK")
    assert found.memory == 24 * os.sysconf("SC_PAGE_SIZE")


def test_the_dead() -> None:
    child = subprocess.Popen(["true"])
    while (found := procfs.stat(child.pid)) and not found.ended:
        time.sleep(0.001)
    assert found and procfs.start_time(child.pid) is None
    child.wait()
    assert procfs.stat(child.pid) is None and procfs.start_time(child.pid) is None
    assert procfs.pid_namespace(child.pid) == ""


def test_this_process() -> None:
    assert procfs.start_time(os.getpid())
    assert procfs.pid_namespace(os.getpid()).startswith("pid:[")
