"""Output of a command on the screen of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from bb_jupyter.backend.execution import Chunk, Execution, Stream
from bb_jupyter.notebook.streaming import INTERVAL, MAX_SWITCHES, Screen, pump


class Clock:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Writers:
    """Two streams of a cell: what was sent, in order."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def writer(self, name: str) -> _Writer:
        return _Writer(name, self.sent)

    def of(self, name: str) -> str:
        return "".join(text for stream, text in self.sent if stream == name)


class _Writer:
    def __init__(self, name: str, sent: list[tuple[str, str]]) -> None:
        self._name, self._sent, self._buffer = name, sent, ""

    def write(self, text: str, /) -> None:
        self._buffer += text

    def flush(self) -> None:
        if self._buffer:
            self._sent.append((self._name, self._buffer))
        self._buffer = ""


class Scripted(Execution):
    """An execution that gives what it is told to."""

    def __init__(self, steps: list[Sequence[Chunk] | int]) -> None:
        super().__init__()
        self._steps = steps

    def _read(self, timeout: float | None) -> Sequence[Chunk] | int:
        return self._steps.pop(0)

    def _send_kill(self) -> None:
        self._steps = [137]

    def _close(self) -> None:
        pass


def screen(cap: int = 1 << 20) -> tuple[Screen, Writers, Clock]:
    writers, clock = Writers(), Clock()
    shown = Screen(writers.writer("stdout"), writers.writer("stderr"), cap=cap, log="/the/log", clock=clock)
    return shown, writers, clock


def test_first_output_is_sent_at_once_and_more_is_coalesced() -> None:
    shown, writers, clock = screen()
    assert shown.patience() is None
    for number in range(100):
        shown.write("stdout", b"%d\n" % number)
        shown.tick()
    assert writers.sent == [("stdout", "0\n")]
    assert shown.patience() == INTERVAL
    clock.now += INTERVAL
    shown.tick()
    assert len(writers.sent) == 2 and writers.of("stdout") == "".join(f"{n}\n" for n in range(100))
    assert shown.patience() is None


def test_streams_keep_their_order() -> None:
    shown, writers, _ = screen()
    for stream, data in (("stdout", b"a"), ("stderr", b"b"), ("stdout", b"c"), ("stdout", b"d")):
        shown.write(stream, data)  # type: ignore[arg-type]
    shown.finish()
    assert writers.sent == [("stdout", "a"), ("stderr", "b"), ("stdout", "cd")]


def test_switches_are_bounded_and_stderr_then_is_red() -> None:
    shown, writers, _ = screen()
    streams: tuple[Stream, Stream] = ("stdout", "stderr")
    for number in range(1000):
        shown.write(streams[number % 2], b"x\n")
    shown.finish()
    changes = sum(a[0] != b[0] for a, b in pairwise(writers.sent))
    assert changes <= MAX_SWITCHES + 1
    assert writers.sent[-1][0] == "stdout" and "x\n\x1b[31mx\n\x1b[39mx\n" in writers.sent[-1][1]


def test_characters_and_sequences_split_over_chunks_are_whole_per_stream() -> None:
    shown, writers, _ = screen()
    shown.write("stdout", b"\xe2\x82")
    shown.write("stderr", b"\x1b[3")
    shown.write("stdout", b"\xac")
    shown.write("stderr", b"1mred\x1b[0m")
    shown.finish()
    assert (writers.of("stdout"), writers.of("stderr")) == ("€", "\x1b[31mred\x1b[0m")


def test_what_is_not_utf8_is_replaced() -> None:
    shown, writers, _ = screen()
    shown.write("stdout", b"a\xffb\xe2\x82")
    shown.finish()
    assert writers.of("stdout") == "a\ufffdb\ufffd"


def test_output_up_to_the_cap_is_whole() -> None:
    shown, writers, _ = screen(cap=1000)
    shown.write("stdout", b"x" * 400)
    shown.write("stdout", b"y" * 400)
    shown.write("stdout", b"z" * 200)
    shown.finish()
    assert writers.of("stdout") == "x" * 400 + "y" * 400 + "z" * 200
    assert writers.of("stderr") == ""


def test_more_than_the_cap_is_head_and_tail_with_the_number_between() -> None:
    shown, writers, _ = screen(cap=1000)
    lines = [b"%09d\n" % number for number in range(1000)]
    for line in lines:
        shown.write("stdout", line)
        shown.tick()
    shown.finish()
    head, tail = b"".join(lines[:50]).decode(), b"".join(lines[-50:]).decode()
    assert writers.of("stdout") == head + tail
    assert "8.8 KiB left out here" in writers.of("stderr") and "/the/log" in writers.of("stderr")


def test_a_capped_cell_says_so_while_the_command_goes_on() -> None:
    shown, writers, clock = screen(cap=1000)
    shown.write("stdout", b"x" * 600)
    shown.tick()
    clock.now += 10
    shown.tick()
    assert "/the/log" in writers.of("stderr")
    shown.finish()
    assert writers.of("stdout") == "x" * 600


def test_tail_starts_with_a_whole_character() -> None:
    shown, writers, _ = screen(cap=101)
    shown.write("stdout", "€".encode() * 100)
    shown.finish()
    assert "\ufffd" not in writers.of("stdout")[20:]


def test_many_tiny_writes_to_the_tail_keep_memory_bounded() -> None:
    shown, writers, _ = screen(cap=1 << 20)
    shown.write("stdout", b"h" * (1 << 19))
    for number in range(100_000):
        shown.write("stdout" if number % 2 else "stderr", b"x")
    shown.finish()
    assert sum(len(text) for _, text in writers.sent) < (1 << 19) + 200_000


def test_pump_shows_everything_to_the_end() -> None:
    shown, writers, _ = screen()
    execution = Scripted([[Chunk("stdout", b"a")], [], [Chunk("stderr", b"b"), Chunk("stdout", b"c")], 3])
    pump(execution, shown)
    shown.finish()
    assert writers.sent == [("stdout", "a"), ("stderr", "b"), ("stdout", "c")]
    assert execution.wait().returncode == 3
