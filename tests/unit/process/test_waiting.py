"""Waits end when their condition is true: at once where the kernel reports the change, soon where it does not."""

from __future__ import annotations

import asyncio
import fcntl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bb_jupyter.process import waiting
from bb_jupyter.process.waiting import FileChanges, wait_until, wait_until_async

#: Seconds that a wait by polling would take here: much longer than any test.
NEVER = 1000.0


@pytest.fixture(autouse=True)
def only_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a report of the kernel, no test ends."""
    monkeypatch.setattr(waiting, "TICK", NEVER)


def soon(act: Callable[[], object]) -> None:
    threading.Timer(0.05, act).start()


def test_what_is_true_needs_no_wait(tmp_path: Path) -> None:
    assert wait_until(lambda: 7, paths=[tmp_path / "nowhere"], timeout=0) == 7
    assert asyncio.run(wait_until_async(lambda: 7, timeout=0)) == 7


def test_time_is_over(tmp_path: Path) -> None:
    for paths in ([], [tmp_path], [tmp_path / "nowhere"]):
        assert wait_until(lambda: "", timeout=0.05, paths=paths) == ""
        assert asyncio.run(wait_until_async(lambda: 0, timeout=0.05, paths=paths)) == 0


@pytest.mark.parametrize("change", ["touch", "link", "rename", "append", "remove"])
def test_each_change_in_a_folder_is_reported(tmp_path: Path, change: str) -> None:
    folder, other, old = tmp_path / "folder", tmp_path / "other", tmp_path / "folder/old"
    folder.mkdir()
    for path in (other, old):
        path.write_text("x")
    act = {
        "touch": lambda: (folder / "new").touch(),
        "link": lambda: (folder / "new").hardlink_to(other),
        "rename": lambda: other.rename(folder / "new"),
        "append": lambda: old.write_text("xy"),
        "remove": old.unlink,
    }[change]
    before = [(path.name, path.stat().st_size) for path in folder.iterdir()]
    soon(act)
    assert wait_until(
        lambda: [(path.name, path.stat().st_size) for path in folder.iterdir()] != before, paths=[folder], timeout=NEVER
    )


def test_an_event_loop_waits_for_many_with_one_instance(tmp_path: Path) -> None:
    async def run() -> None:
        names = [f"{number}" for number in range(20)]
        for name in names:
            (tmp_path / name).mkdir()
        waits = [
            asyncio.create_task(wait_until_async((tmp_path / name / "x").exists, paths=[tmp_path / name]))
            for name in names
        ]
        await asyncio.sleep(0.05)
        assert len(instances()) == 1
        for name in names:
            (tmp_path / name / "x").touch()
        assert all(await asyncio.gather(*waits))
        assert instances() == []

    asyncio.run(run())


def instances() -> list[str]:
    return [link.name for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and "inotify" in target(link)]


def target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def test_a_path_may_come_into_being(tmp_path: Path) -> None:
    folder = tmp_path / "folder"

    def make() -> None:
        folder.mkdir()
        soon((folder / "x").touch)

    soon(make)
    assert wait_until((folder / "x").exists, paths=[tmp_path, folder], timeout=NEVER)


def test_where_nothing_can_be_watched_it_looks_again(tmp_path: Path) -> None:
    soon((tmp_path / "x").touch)
    assert wait_until((tmp_path / "x").exists, paths=[tmp_path / "nowhere"], timeout=NEVER)
    soon((tmp_path / "y").touch)
    assert asyncio.run(wait_until_async((tmp_path / "y").exists, paths=[tmp_path / "nowhere"], timeout=NEVER))


def test_without_inotify_it_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_inotify", lambda *_: -1)
    soon((tmp_path / "x").touch)
    assert wait_until((tmp_path / "x").exists, paths=[tmp_path], timeout=NEVER)
    soon((tmp_path / "y").touch)
    assert asyncio.run(wait_until_async((tmp_path / "y").exists, paths=[tmp_path], timeout=NEVER))


def test_the_death_of_a_process_that_held_a_lock_is_reported(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    code = f"import fcntl, time; f = open({str(lock)!r}, 'w'); fcntl.flock(f, 2); print(flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()

    def free() -> bool:
        with lock.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    soon(holder.kill)
    assert wait_until(free, paths=[tmp_path], timeout=NEVER)
    holder.wait()
    holder.stdout.close()


def test_what_is_not_watched_any_more_reports_nothing(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    with FileChanges([first]) as changes:
        changes.watch([second])
        changes.wait(0.05)  # the end of a watch is itself reported
        (first / "x").touch()
        begun = time.monotonic()
        changes.wait(0.05)
        assert time.monotonic() - begun >= 0.05
        (second / "x").touch()
        changes.wait(NEVER)
