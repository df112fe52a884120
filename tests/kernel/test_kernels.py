"""Kernels that end, restart, and meet."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.kernel.conftest import NewNotebook
from tests.leftovers import leftovers

pytestmark = pytest.mark.bubblewrap


def test_bottle_is_gone_after_a_restart(new_notebook: NewNotebook, bottle_name: str) -> None:
    notebook = new_notebook(plain=True)
    notebook.run(f"%%bottle {bottle_name}\ntouch old")
    notebook.restart()
    assert notebook.run("%bottle ls").stdout == "no bottle is running\n"
    assert notebook.run(f"%%bottle {bottle_name}\nls").stdout.endswith(" s\n")


def test_second_kernel_is_refused_with_who_owns_the_name(new_notebook: NewNotebook, bottle_name: str) -> None:
    first, second = new_notebook(plain=True), new_notebook(plain=True)
    first.run(f"%%bottle {bottle_name}")
    owner = first.run("import os; print(os.getpid())").stdout.strip()
    cell = second.run(f"%%bottle {bottle_name}\necho ran")
    assert not cell.ok and cell.stdout == ""
    assert cell.error.startswith(f"NameTaken: bottle '{bottle_name}' is taken") and f"process {owner}" in cell.error
    assert len(cell.error.splitlines()) <= 2
    assert owner in second.run("%bottle ls").stdout
    refused = second.run(f"%bottle stop {bottle_name}")
    assert f"process {owner}" in refused.error
    assert first.run(f"%%bottle {bottle_name}\necho alive").stdout == "alive\n"


def test_bottles_of_two_kernels_run_side_by_side(new_notebook: NewNotebook, bottle_name: str) -> None:
    first, second = new_notebook(plain=True), new_notebook(plain=True)
    first.run(f"%%bottle {bottle_name}-a")
    second.run(f"%%bottle {bottle_name}-b")
    shown = first.run("%bottle ls").stdout
    assert "this kernel" in shown and f"{bottle_name}-b" in shown
    assert second.run("%bottle stop --all").stdout == f"stopped {bottle_name}-b\n"
    assert first.run(f"%%bottle {bottle_name}-a\necho alive").stdout == "alive\n"


def test_cleanup_finds_what_a_killed_kernel_left(new_notebook: NewNotebook, home: Path, bottle_name: str) -> None:
    first, second = new_notebook(plain=True), new_notebook(plain=True)
    first.run(f"%%bottle {bottle_name}")
    os.kill(int(first.run("import os; print(os.getpid())").stdout), signal.SIGKILL)
    first.manager.provisioner.process.wait(60)
    listed = second.run("%bottle cleanup --dry-run").stdout
    assert "would remove" in listed and bottle_name in listed
    assert "removed" in second.run("%bottle cleanup").stdout
    assert second.run("%bottle cleanup").stdout == "nothing to clean up\n"
    assert not [line for line in leftovers(home, bottle_name) if "ipykernel" not in line]


def test_a_bottle_that_died_is_told_and_the_next_cell_has_a_new_one(
    new_notebook: NewNotebook, home: Path, bottle_name: str
) -> None:
    notebook = new_notebook(plain=True)
    running = notebook.start(f"%%bottle {bottle_name}\necho running; sleep 1000")
    notebook.until(running, lambda cell: "running" in cell.stdout)
    for bwrap in _processes_of(home):
        os.kill(bwrap, signal.SIGKILL)
    cell = notebook.finish(running)
    assert cell.error.startswith(f"BottleGone: bottle '{bottle_name}'") and len(cell.error.splitlines()) <= 2
    cell = notebook.run(f"%%bottle {bottle_name}\necho ran")
    assert cell.error.startswith(f"BottleGone: bottle '{bottle_name}'") and f"%%bottle {bottle_name}" in cell.error
    assert notebook.run(f"%%bottle {bottle_name}\necho a new one").stdout.endswith("a new one\n")


def _processes_of(home: Path) -> list[int]:
    """Return the processes of the bottles of *home*."""
    lines = [line for line in leftovers(home) if line.startswith("process ") and "ipykernel" not in line]
    return [int(line.split()[1]) for line in lines]
