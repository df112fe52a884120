"""Promises of `exec`: output, status, input, environment, folder, user, time limit, kill."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.errors import BottleGone, UsageError
from tests.contract.conftest import Launch, out


@pytest.mark.parametrize("argv", [[], ["echo", "a\0b"]])
def test_arguments_that_cannot_be_are_refused(bottle: BottleHandle, argv: list[str]) -> None:
    with pytest.raises(UsageError):
        bottle.exec(argv)


def test_the_environment_is_the_bottles_own(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_OF_THE_HOST", "1")
    bottle = launch(env={"COLOUR": "blue green"})
    text = out(bottle, "env", env={"SHAPE": "round"})
    assert "COLOUR=blue green\n" in text
    assert "SHAPE=round\n" in text
    assert "HOME=/home/agent\n" in text
    assert "CANARY" not in text


def test_the_launch_options_hold_for_every_command(launch: Launch) -> None:
    bottle = launch(cwd="/tmp", env={"A": "1"})
    assert out(bottle, "echo $PWD $A").strip() == "/tmp 1"


def test_the_time_limit_holds_while_output_flows(bottle: BottleHandle) -> None:
    done = bottle.exec(["yes"], timeout=0.5).wait()
    assert done.timed_out


def test_kill_reaches_background_jobs_with_groups_of_their_own(bottle: BottleHandle) -> None:
    execution = bottle.exec(["bash", "-c", "set -m; sleep 100 & sleep 101 & echo up; wait"])
    while not b"".join(chunk.data for chunk in execution.poll()):
        pass
    execution.kill()
    execution.wait()
    assert "sleep 10" not in processes(bottle)


def test_leaving_the_iteration_kills(bottle: BottleHandle) -> None:
    for _ in bottle.exec(["sh", "-c", "echo x; sleep 100"]):
        break
    assert_soon(lambda: "sleep 10" not in processes(bottle))


def test_an_exception_in_the_with_block_kills(bottle: BottleHandle) -> None:
    with pytest.raises(ZeroDivisionError), bottle.exec(["sleep", "100"]):
        raise ZeroDivisionError
    assert_soon(lambda: "sleep 10" not in processes(bottle))


def test_a_hundred_commands_at_once(bottle: BottleHandle) -> None:
    def run(number: int) -> str:
        return out(bottle, f"sleep 0.2; echo {number}").strip()

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(run, range(100))) == [str(number) for number in range(100)]


def test_orphans_are_reaped(bottle: BottleHandle) -> None:
    out(bottle, "for i in 1 2 3 4 5; do (sleep 0.1 &); done")
    assert_soon(lambda: " Z" not in out(bottle, "cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*)//'"))


def test_stopping_ends_what_runs(bottle: BottleHandle) -> None:
    execution = bottle.exec(["sleep", "100"])
    stopper = threading.Timer(0.3, bottle.stop)
    stopper.start()
    with pytest.raises(BottleGone):
        execution.wait()
    stopper.join()


def processes(bottle: BottleHandle) -> str:
    """Return the command lines of the bottle's living processes."""
    return out(bottle, "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done 2>/dev/null; :")


def assert_soon(condition: object, within: float = 10.0) -> None:
    """Wait for what happens beside us."""
    deadline = time.monotonic() + within
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)
