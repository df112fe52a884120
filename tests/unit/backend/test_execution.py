"""What every execution does, on a scripted one: bounded output, limits of time, the end."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bb_jupyter.backend import KILLED, TIMED_OUT, Chunk, Command, Execution
from bb_jupyter.backend.execution import HeadTail, StdoutFile
from bb_jupyter.errors import BottleGone, UsageError

Step = Sequence[Chunk] | int | Exception


class Scripted(Execution):
    """Gives what a list says, then waits for ever."""

    def __init__(self, steps: Sequence[Step], *, timeout: float | None = None) -> None:
        super().__init__(timeout=timeout)
        self.steps = list(steps)
        self.kills = self.closed = 0

    def _read(self, timeout: float | None) -> Sequence[Chunk] | int:
        if not self.steps:
            assert timeout is not None, "it would wait for ever"
            time.sleep(timeout)
            return ()
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def _send_kill(self) -> None:
        self.kills += 1
        self.steps = [KILLED]

    def _close(self) -> None:
        self.closed += 1


def out(*pieces: bytes) -> list[Chunk]:
    return [Chunk("stdout", piece) for piece in pieces]


def test_its_output_and_end() -> None:
    seen: list[bytes] = []
    execution = Scripted([out(b"a", b"b"), [Chunk("stderr", b"!")], (), 3]).tee(lambda chunk: seen.append(chunk.data))
    completed = execution.wait()
    assert (completed.returncode, completed.stdout, completed.stderr) == (3, b"ab", b"!")
    assert (completed.truncated, completed.timed_out, completed.killed) == (0, False, False)
    assert seen == [b"a", b"b", b"!"]
    assert not execution.running and execution.closed == 1
    assert execution.wait() == completed and execution.poll() == ()


def test_a_time_limit_kills() -> None:
    completed = Scripted([], timeout=0.01).wait()
    assert (completed.returncode, completed.timed_out, completed.killed) == (TIMED_OUT, True, False)


def test_leaving_early_kills() -> None:
    execution = Scripted([out(b"a"), out(b"b")])
    for _ in execution:
        break
    assert execution.kills == 1 or execution.running
    with Scripted([out(b"a")]) as other:
        other.poll()
    assert (other.kills, other.closed) == (1, 1)
    assert other.wait().killed
    other.kill()
    assert other.kills == 1  # it is over


def test_output_of_what_left_the_group_is_not_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bb_jupyter.backend.execution._DRAIN", 0.02)
    execution = Scripted([out(b"a")])
    execution._send_kill = lambda: None  # type: ignore[method-assign]
    execution.poll()
    execution.kill()
    assert execution.wait().returncode == KILLED


def test_a_bottle_that_dies() -> None:
    execution = Scripted([out(b"a"), BottleGone("gone")])
    with pytest.raises(BottleGone):
        execution.wait()
    assert execution.closed == 1 and not execution.running


@given(st.lists(st.binary(max_size=50)), st.integers(1, 20))
def test_head_and_tail(pieces: list[bytes], half: int) -> None:
    kept = HeadTail(2 * half)
    kept._BLOCK = 8  # type: ignore[misc]
    for piece in pieces:
        kept.write(piece)
    whole = b"".join(pieces)
    if len(whole) <= 2 * half:
        assert kept.value() == whole and kept.missing == 0
    else:
        assert kept.value() == whole[:half] + whole[-half:] and kept.missing == len(whole) - 2 * half
    assert kept._tail_size <= half + 8 + max(map(len, pieces), default=0)


def test_its_output_as_a_file() -> None:
    steps: list[Step] = [out(b"one"), (), [Chunk("stderr", b"!")], out(b"tw", b"o"), 0]
    assert io.BufferedReader(StdoutFile(Scripted(steps)), 2).read() == b"onetwo"


@pytest.mark.parametrize("argv", [(), ("a\0b",), ("sh", "-c", "\0")])
def test_what_is_no_command(argv: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        Command(argv)
