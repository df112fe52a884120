"""Promises of `exec`: output, status, input, environment, folder, user, time limit, kill."""

from __future__ import annotations

import io
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bb_jupyter.backend import KILLED, TIMED_OUT
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.errors import BottleGone, UsageError
from tests.contract.conftest import Launch, out, sh


def test_output_arrives_while_the_command_runs(bottle: BottleHandle) -> None:
    # The second line is written only after the first one was read: no clock decides.
    execution = bottle.exec(["sh", "-c", "echo first; while [ ! -e go ]; do sleep 0.05; done; echo second"])
    seen = b""
    while b"first\n" not in seen:
        seen += b"".join(chunk.data for chunk in execution.poll())
    assert execution.running
    out(bottle, "touch go")
    assert execution.wait().stdout == b"first\nsecond\n"


def test_stdout_and_stderr_are_told_apart(bottle: BottleHandle) -> None:
    done = sh(bottle, "echo one; echo two >&2")
    assert (done.stdout, done.stderr) == (b"one\n", b"two\n")


@pytest.mark.parametrize("status", [0, 1, 3, 125, 255])
def test_the_exit_status_is_returned(bottle: BottleHandle, status: int) -> None:
    assert sh(bottle, f"exit {status}").returncode == status


def test_a_signal_gives_128_and_its_number(bottle: BottleHandle) -> None:
    assert sh(bottle, "kill -TERM $$").returncode == 128 + signal.SIGTERM


def test_a_program_that_is_not_there_ends_with_127_and_says_so(bottle: BottleHandle) -> None:
    done = bottle.exec(["no-such-program"]).wait()
    assert done.returncode == 127
    assert b"no-such-program" in done.stderr


def test_a_file_that_cannot_be_run_ends_with_126(bottle: BottleHandle) -> None:
    out(bottle, "echo text > plain")
    assert bottle.exec(["./plain"]).wait().returncode == 126


def test_arguments_are_literal(bottle: BottleHandle) -> None:
    words = ["a b", "$HOME", "'", '"', "*", "\n", "-n", "", "ü", "\\"]
    done = bottle.exec(["printf", "%s\\0", *words]).wait()
    assert done.stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize("argv", [[], ["echo", "a\0b"]])
def test_arguments_that_cannot_be_are_refused(bottle: BottleHandle, argv: list[str]) -> None:
    with pytest.raises(UsageError):
        bottle.exec(argv)


def test_bytes_reach_the_standard_input(bottle: BottleHandle) -> None:
    data = bytes(range(256)) * 8192
    assert bottle.exec(["cat"], stdin=data).wait().stdout == data


def test_a_file_reaches_the_standard_input(bottle: BottleHandle) -> None:
    assert bottle.exec(["sha256sum"], stdin=io.BytesIO(b"x" * 3_000_000)).wait().stdout.startswith(b"e55b8bdf")


def test_without_input_a_command_reads_nothing(bottle: BottleHandle) -> None:
    assert bottle.exec(["cat"]).wait().stdout == b""


def test_a_command_may_leave_its_input_unread(bottle: BottleHandle) -> None:
    assert bottle.exec(["true"], stdin=io.BytesIO(b"x" * 5_000_000)).wait().returncode == 0


def test_the_environment_is_the_bottles_own(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_OF_THE_HOST", "1")
    bottle = launch(env={"COLOUR": "blue green"})
    text = out(bottle, "env", env={"SHAPE": "round"})
    assert "COLOUR=blue green\n" in text
    assert "SHAPE=round\n" in text
    assert "HOME=/home/agent\n" in text
    assert "CANARY" not in text


def test_the_folder_is_the_home_or_what_is_asked_for(bottle: BottleHandle) -> None:
    assert out(bottle, "pwd; mkdir -p work").strip() == "/home/agent"
    assert out(bottle, "pwd", cwd="work").strip() == "/home/agent/work"
    assert out(bottle, "pwd", cwd="/tmp").strip() == "/tmp"


def test_a_folder_that_is_not_there_is_said(bottle: BottleHandle) -> None:
    done = sh(bottle, "true", cwd="nowhere")
    assert done.returncode in (126, 127)
    assert b"nowhere" in done.stderr + done.stdout


def test_the_launch_options_hold_for_every_command(launch: Launch) -> None:
    bottle = launch(cwd="/tmp", env={"A": "1"})
    assert out(bottle, "echo $PWD $A").strip() == "/tmp 1"


def test_the_user_is_not_root(bottle: BottleHandle) -> None:
    assert out(bottle, "id -u").strip() == "1000"


def test_an_unknown_user_is_an_error(bottle: BottleHandle) -> None:
    with pytest.raises(UsageError, match="nobody-of-that-name"):
        bottle.exec(["true"], user="nobody-of-that-name").wait()


def test_the_time_limit_ends_the_whole_group(bottle: BottleHandle) -> None:
    done = sh(bottle, "echo before; sleep 100 & sleep 100", timeout=3)
    assert (done.returncode, done.timed_out, done.stdout) == (TIMED_OUT, True, b"before\n")
    assert "sleep 10" not in processes(bottle)


def test_the_time_limit_holds_while_output_flows(bottle: BottleHandle) -> None:
    done = bottle.exec(["yes"], timeout=0.5).wait()
    assert done.timed_out


def test_kill_ends_the_whole_group_and_keeps_the_output(bottle: BottleHandle) -> None:
    execution = bottle.exec(["sh", "-c", "(trap '' TERM INT HUP; echo up; sleep 100) & (sleep 100 | sleep 100); wait"])
    while not (seen := b"".join(chunk.data for chunk in execution.poll())):
        pass
    execution.kill()
    done = execution.wait()
    assert (seen, done.returncode, done.killed) == (b"up\n", KILLED, True)
    assert "sleep 10" not in processes(bottle)
    assert out(bottle, "echo usable") == "usable\n"


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


def test_a_service_in_the_background_does_not_hold_the_command(bottle: BottleHandle) -> None:
    done = sh(bottle, "sleep 30 & echo started", timeout=25)
    assert (done.returncode, done.stdout) == (0, b"started\n")
    assert "sleep 30" in processes(bottle)


def test_a_hundred_commands_at_once(bottle: BottleHandle) -> None:
    def run(number: int) -> str:
        return out(bottle, f"sleep 0.2; echo {number}").strip()

    with ThreadPoolExecutor(100) as pool:
        assert list(pool.map(run, range(100))) == [str(number) for number in range(100)]


def test_orphans_are_reaped(bottle: BottleHandle) -> None:
    out(bottle, "for i in 1 2 3 4 5; do (sleep 0.1 &); done")
    assert_soon(lambda: " Z" not in out(bottle, "cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*)//'"))


def test_a_stopped_bottle_says_that_it_is_gone(bottle: BottleHandle) -> None:
    bottle.stop()
    with pytest.raises(BottleGone):
        bottle.exec(["true"]).wait()


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
