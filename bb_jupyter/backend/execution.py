"""A command that runs in a bottle: read its output as it arrives, wait for its end, kill it."""

from __future__ import annotations

import io
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from bb_jupyter.errors import BottleError

Stream = Literal["stdout", "stderr"]

#: Exit status of a command that its time limit ended, as timeout(1) gives it.
TIMED_OUT = 124
#: Exit status of a command that SIGKILL ended, as a shell gives it (128 + 9).
KILLED = 137
#: Most bytes of each stream that `Execution.wait` returns: one half from the beginning, one from the end.
KEPT_OUTPUT = 8 << 20
#: Seconds that the output of a killed command is still read.
_DRAIN = 2.0


@dataclass(frozen=True)
class Chunk:
    """Some output: which stream, and the bytes as the command wrote them."""

    stream: Stream
    data: bytes


@dataclass(frozen=True)
class Completed:
    """How a command ended.

    Attributes:
        returncode: its exit status; 128 + N when signal N ended it, 124 when its time limit did.
        stdout: its standard output; only head and tail if that is more than `KEPT_OUTPUT`.
        stderr: its standard error, likewise.
        duration: seconds from start to end.
        truncated: bytes missing between head and tail, of both streams together.
        timed_out: its time limit ended it.
        killed: `Execution.kill` ended it.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    duration: float
    truncated: int = 0
    timed_out: bool = False
    killed: bool = False


class Execution(ABC):
    """A command running in a bottle.

    Iterate over it for `Chunk`s as they arrive, `poll` for them with a time limit, or `wait` for the end.  Leaving the
    iteration or the `with` block early kills the command, also if an exception or an interrupt does so.  One thread
    reads; any thread may `kill`.

    Args:
        timeout: seconds after which the command is killed; `None` for no limit.
    """

    def __init__(self, *, timeout: float | None = None) -> None:
        self._started = time.monotonic()
        self._deadline = None if timeout is None else self._started + timeout
        self._drained_by: float | None = None
        self._kept = {"stdout": HeadTail(KEPT_OUTPUT), "stderr": HeadTail(KEPT_OUTPUT)}
        self._completed: Completed | None = None
        self._sinks: list[Callable[[Chunk], object]] = []
        self._timed_out = self._killed = False

    @abstractmethod
    def _read(self, timeout: float | None) -> Sequence[Chunk] | int:
        """Wait up to *timeout* seconds (`None`: without limit) for output.

        Returns:
            The chunks that arrived (none if the time passed), or the exit status once all output has been read.

        Raises:
            BottleGone: the bottle died.
        """

    @abstractmethod
    def _send_kill(self) -> None:
        """Kill every process of the command.  Thread-safe; no error when it is over or the bottle is gone."""

    @abstractmethod
    def _close(self) -> None:
        """Free the resources of the host.  Idempotent."""

    @property
    def running(self) -> bool:
        """Whether the command's end has not been read yet."""
        return self._completed is None

    def tee(self, sink: Callable[[Chunk], object]) -> Self:
        """Also call *sink* with every chunk as it is read.

        Returns:
            This execution.
        """
        self._sinks.append(sink)
        return self

    def poll(self, timeout: float | None = None) -> Sequence[Chunk]:
        """Wait up to *timeout* seconds (`None`: without limit) for output.

        Returns:
            The chunks that arrived; empty if the time passed or the command ended (see `running`).

        Raises:
            BottleGone: the bottle died or was stopped while the command ran.
        """
        if self._completed:
            return ()
        try:
            got = self._read(self._patience(timeout))
        except BottleError:
            self.close()
            raise
        if isinstance(got, int):
            self._complete(got)
            return ()
        for chunk in got:
            self._kept[chunk.stream].write(chunk.data)
            for sink in self._sinks:
                sink(chunk)
        self._check_deadlines()
        return got

    def __iter__(self) -> Iterator[Chunk]:
        try:
            while self.running:
                yield from self.poll()
        finally:
            self.close()

    def wait(self) -> Completed:
        """Read to the end of the command.

        Returns:
            Exit status and output; a command that fails does not raise.

        Raises:
            BottleGone: the bottle died or was stopped while the command ran.
            KeyboardInterrupt: the command has been killed.
        """
        for _ in self:
            pass
        if self._completed is None:
            raise RuntimeError("the execution was closed before it ended")
        return self._completed

    def kill(self) -> None:
        """Kill every process of the command.  Its remaining output can still be read.  Idempotent."""
        if self._completed is None:
            self._killed = True
            self._kill_now()

    def close(self) -> None:
        """Kill the command if it still runs, and free its resources.  Idempotent."""
        if self._completed is None:
            self.kill()
            self._complete(KILLED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _kill_now(self) -> None:
        self._drained_by = self._drained_by or time.monotonic() + _DRAIN
        self._send_kill()

    def _patience(self, timeout: float | None) -> float | None:
        """Return the seconds to wait for output: until the first of *timeout*, time limit and end of draining."""
        now = time.monotonic()
        limits = [timeout] + [at - now for at in (self._deadline, self._drained_by) if at is not None]
        known = [max(0.0, limit) for limit in limits if limit is not None]
        return min(known) if known else None

    def _check_deadlines(self) -> None:
        now = time.monotonic()
        if self._drained_by is not None and now >= self._drained_by:
            self._complete(KILLED)  # a process that left the group may keep the pipes open
        elif self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self._timed_out = True
            self._kill_now()

    def _complete(self, returncode: int) -> None:
        self._close()
        self._completed = Completed(
            returncode=TIMED_OUT if self._timed_out else returncode,
            stdout=self._kept["stdout"].value(),
            stderr=self._kept["stderr"].value(),
            duration=time.monotonic() - self._started,
            truncated=sum(kept.missing for kept in self._kept.values()),
            timed_out=self._timed_out,
            killed=self._killed,
        )


class StdoutFile(io.RawIOBase):
    """The standard output of a command, as a file to read.

    Args:
        execution: the command; nobody else reads it.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._pending = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill *buffer* with what has come, waiting for the first byte; 0 at the end."""
        while not self._pending and self._execution.running:
            data = b"".join(chunk.data for chunk in self._execution.poll() if chunk.stream == "stdout")
            self._pending = memoryview(data)
        size = min(len(buffer), len(self._pending))
        buffer[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size


class HeadTail:
    """Keeps the first and the last *limit*/2 bytes that are written to it, in bounded memory."""

    _BLOCK = 1 << 16

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._head = bytearray()
        self._tail: deque[bytearray] = deque([bytearray()])
        self._tail_size = 0
        self.written = 0

    def write(self, data: bytes) -> None:
        """Add *data*."""
        self.written += len(data)
        missing = self._half - len(self._head)
        if missing > 0:
            self._head += data[:missing]
            data = data[missing:]
        if data:
            self._write_tail(data)

    def _write_tail(self, data: bytes) -> None:
        data = data[-self._half :]
        if len(self._tail[-1]) >= self._BLOCK:
            self._tail.append(bytearray())
        self._tail[-1] += data
        self._tail_size += len(data)
        while self._tail_size - len(self._tail[0]) >= self._half:
            self._tail_size -= len(self._tail.popleft())

    @property
    def missing(self) -> int:
        """How many bytes were written that `value` does not hold."""
        return max(0, self.written - len(self._head) - self._half)

    def value(self) -> bytes:
        """Return the head followed by the tail."""
        return bytes(self._head) + b"".join(self._tail)[-self._half :]
