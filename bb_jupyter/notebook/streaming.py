"""The output of a command in a cell: at once, in order, in few messages, up to a cap, and in bounded memory."""

from __future__ import annotations

import codecs
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from bb_jupyter.backend.execution import Execution, Stream
from bb_jupyter.manifest import about_size
from bb_jupyter.text.visible import Visible

#: Seconds between two messages of a busy command: 20 a second.
INTERVAL = 0.05
#: JupyterLab draws 50 outputs of a cell, and each change of stream starts a new one.  After this many changes, stderr
#: is shown in red on the stream that is current.
MAX_SWITCHES = 30
#: Seconds after which a cell that has reached its cap says so.
_PATIENCE = 1.0
_RED, _END = "\x1b[31m", "\x1b[39m"


class Writer(Protocol):
    """The part of `sys.stdout` that a cell needs."""

    def write(self, text: str, /) -> object:
        """Add text to the next message."""

    def flush(self) -> object:
        """Send the message."""


class NoticeSource(Protocol):
    """Source of notices that a cell shows while its command runs."""

    def take(self) -> Sequence[str]:
        """Return the notices that have not been shown yet."""

    def patience(self) -> float | None:
        """Return the seconds until the next look; `None` if no notice can come."""


def pump(execution: Execution, screen: Screen, notices: NoticeSource | None = None) -> None:
    """Show the output of *execution* on *screen* until it ends.

    Args:
        execution: the command.
        screen: where it is shown.
        notices: lines to show meanwhile.

    Raises:
        BottleGone: the bottle died or was stopped while the command ran.
    """
    while execution.running:
        for chunk in execution.poll(_sooner(screen.patience(), notices.patience() if notices else None)):
            screen.write(chunk.stream, chunk.data)
        for line in notices.take() if notices else ():
            screen.note(line)
        screen.tick()


def _sooner(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)


class Screen:
    """The place in a cell where one command's output is shown.

    The first half of *cap* is shown live, the last half at the end.  The bytes between are counted, never decoded.

    Args:
        stdout: the cell's stdout.
        stderr: the cell's stderr.
        cap: most bytes of output to show.
        log: the file with all output; its name is shown when bytes are left out.
        clock: monotonic clock, in seconds.
    """

    def __init__(
        self,
        stdout: Writer,
        stderr: Writer,
        *,
        cap: int,
        log: Path | str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cell = _Cell(stdout, stderr)
        self._budget = cap - cap // 2
        self._tail = _Tail(cap // 2)
        self._log = log
        self._clock = clock
        self._due = self._tail_since = float("-inf")
        self._cap_reported = False

    def write(self, stream: Stream, data: bytes) -> None:
        """Take output; the next `tick` shows it if the last message was long enough ago."""
        if self._budget > len(data):
            self._cell.add(stream, data)
            self._budget -= len(data)
            return
        if self._budget:
            end = data.rfind(b"\n", 0, self._budget) + 1 or self._budget
            self._cell.add(stream, data[:end])
            data, self._budget = data[end:], 0
        if data:
            if not self._tail.size:
                self._tail_since = self._clock()
            self._tail.add(stream, data)

    def tick(self) -> None:
        """Send the output that is due."""
        now = self._clock()
        if self._cell.pending and now >= self._due:
            self._cell.send()
            self._due = now + INTERVAL
        if not self._cap_reported and self._tail.size and (self._tail.dropped or now >= self._tail_since + _PATIENCE):
            self._say(f"there is more output than a cell shows; its end follows, and all of it is in {self._log}")
            self._cap_reported = True

    def patience(self) -> float | None:
        """Return the seconds until something has to be sent; `None` until there is new output."""
        due = [self._due] if self._cell.pending else []
        if self._tail.size and not self._cap_reported:
            due.append(self._tail_since + _PATIENCE)
        return max(0.0, min(due) - self._clock()) if due else None

    def note(self, line: str) -> None:
        """Take a notice, already made visible; it is shown even where output is left out."""
        self._cell.note(line)

    def finish(self, notes: Iterable[str] = ()) -> None:
        """Show the pending output, the end of a capped one, the number of bytes left out, and *notes*."""
        tail = self._tail.take()
        if self._tail.dropped:
            self._cell.end_text()
            self._say(f"{about_size(self._tail.dropped)} left out here")
        for stream, data in tail:
            self._cell.add(stream, data)
        self._cell.end_text()
        if self._tail.dropped:
            self._say(f"all of the output is in {self._log}")
        for line in notes:
            self.note(line)
        self._cell.send()

    def _say(self, text: str) -> None:
        self.note(f"⋯ {text}")
        self._cell.send()


class _Cell:
    """The two streams of a cell, decoded and made visible, in the order of the output."""

    def __init__(self, stdout: Writer, stderr: Writer) -> None:
        self._writers: dict[Stream, Writer] = {"stdout": stdout, "stderr": stderr}
        self._texts: dict[Stream, _Text] = {"stdout": _Text(), "stderr": _Text()}
        self.pending: list[tuple[Stream, str]] = []
        self._current: Stream | None = None
        self._switches = 0
        self._last = "\n"

    def add(self, stream: Stream, data: bytes) -> None:
        self._append(stream, self._texts[stream].feed(data))

    def note(self, line: str) -> None:
        """Add a notice on a line of its own, without the colours of the bottle's output."""
        plain = "".join(text.plain() for text in self._texts.values()) + line
        last = next((text for _, text in reversed(self.pending) if text), self._last)
        self._append("stderr", f"{plain}\n" if last.endswith("\n") else f"\n{plain}\n")

    def end_text(self) -> None:
        """Add unfinished characters, and reset colours that were left on."""
        for stream, text in self._texts.items():
            self._append(stream, text.finish())

    def send(self) -> None:
        """Write the pending text, one message for each change of stream."""
        pending, self.pending = self.pending, []
        for stream, text in pending:
            self._write(stream, text)
        if self._current is not None:
            self._writers[self._current].flush()

    def _append(self, stream: Stream, text: str) -> None:
        if self.pending and self.pending[-1][0] == stream:
            self.pending[-1] = (stream, self.pending[-1][1] + text)
        elif text:
            self.pending.append((stream, text))

    def _write(self, stream: Stream, text: str) -> None:
        may_switch = self._switches < MAX_SWITCHES or self._current == "stderr"
        if stream != self._current and may_switch:
            if self._current is not None:
                self._writers[self._current].flush()  # both streams are sent in the order of their flushes
            self._current, self._switches = stream, self._switches + 1
        current = self._current or stream
        self._writers[current].write(text if stream == current else _marked(stream, text))
        self._last = text[-1:]


class _Text:
    """Decoder of one stream: bytes to visible text."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._visible = Visible()

    def feed(self, data: bytes) -> str:
        return self._visible.feed(self._decoder.decode(data))

    def plain(self) -> str:
        return self._visible.plain()

    def finish(self) -> str:
        text = self._visible.feed(self._decoder.decode(b"", final=True)) + self._visible.finish()
        self._decoder.reset()
        return text


class _Tail:
    """The last *limit* bytes of both streams, in order, and the number of bytes dropped before them."""

    _BLOCK = 1 << 14
    _MOST_BLOCKS = 4096
    _LONGEST_LINE = 1 << 12

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._blocks: deque[tuple[Stream, bytearray]] = deque()
        self.size = self.dropped = 0
        self._cut_line = False

    def add(self, stream: Stream, data: bytes) -> None:
        last = self._blocks[-1] if self._blocks else None
        if last and last[0] == stream and len(last[1]) < self._BLOCK:
            last[1].extend(data)
        else:
            self._blocks.append((stream, bytearray(data)))
        self.size += len(data)
        while self.size > self._limit or len(self._blocks) > self._MOST_BLOCKS:
            self._drop()

    def take(self) -> list[tuple[Stream, bytes]]:
        """Return the bytes that were kept, and forget them; after a gap they begin with a whole line or character."""
        if self._cut_line and self._blocks:
            first = self._blocks[0][1]
            start = first.find(b"\n", 0, self._LONGEST_LINE) + 1 or _first_character(first)
            del first[:start]
            self.dropped += start
        taken = [(stream, bytes(data)) for stream, data in self._blocks]
        self._blocks.clear()
        self.size = 0
        return taken

    def _drop(self) -> None:
        data = self._blocks[0][1]
        excess = max(self.size - self._limit, 0) or len(data)
        gone = min(excess, len(data))
        self.dropped += gone
        self.size -= gone
        self._cut_line = not data.endswith(b"\n", 0, gone)
        if gone == len(data):
            self._blocks.popleft()
        else:
            del data[:gone]


def _first_character(data: bytearray) -> int:
    """Return the position of the first UTF-8 character of *data*, after at most three continuation bytes."""
    return next((at for at, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0)


def _marked(stream: Stream, text: str) -> str:
    return f"{_RED}{text}{_END}" if stream == "stderr" else text
