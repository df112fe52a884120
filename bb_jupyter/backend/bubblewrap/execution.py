"""A command in a bubblewrap bottle: its output comes by pipes straight from it; a kill is a message to guest.py."""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable, Sequence

from bb_jupyter.backend.execution import Chunk, Execution, Stream
from bb_jupyter.errors import BottleGone

_READ = 1 << 18
#: Seconds that output is awaited once the command has ended: its background processes may hold the pipes open.
_LINGER = 0.05


class BubblewrapExecution(Execution):
    """Reads a command's stdout, stderr and status pipes.

    Args:
        stdout: read end; owned by this object from now on, as the next two are.
        stderr: read end.
        status: read end; brings the exit status as a decimal line, or nothing when the bottle dies.
        send_kill: asks the guest to kill the command.
        name: the bottle's, for errors.
        timeout: seconds.
    """

    def __init__(
        self,
        stdout: int,
        stderr: int,
        status: int,
        send_kill: Callable[[], None],
        *,
        name: str,
        timeout: float | None,
    ) -> None:
        super().__init__(timeout=timeout)
        self._streams: dict[int, Stream] = {stdout: "stdout", stderr: "stderr"}
        self._status = status
        self._returncode: int | None = None
        self._linger_until: float | None = None
        self._ask_to_kill = send_kill
        self._name = name
        self._poll = select.poll()
        for fd in (stdout, stderr, status):
            self._poll.register(fd, select.POLLIN)

    def _read(self, timeout: float | None) -> Sequence[Chunk] | int:
        if self._linger_until is not None:
            left = max(0.0, self._linger_until - time.monotonic())
            timeout = left if timeout is None else min(timeout, left)
        # Output before status: all that the command wrote before it ended is read first.
        ready = [fd for fd, _ in self._poll.poll(None if timeout is None else timeout * 1000)]
        chunks = [chunk for fd in ready if fd in self._streams for chunk in self._read_stream(fd)]
        if chunks:
            return chunks
        if self._returncode is None and self._status in ready:
            self._read_status()
        if self._returncode is not None and (not self._streams or self._lingered()):
            return self._returncode
        return ()

    def _read_stream(self, fd: int) -> Sequence[Chunk]:
        data = os.read(fd, _READ)
        if data:
            return (Chunk(self._streams[fd], data),)
        self._poll.unregister(fd)
        del self._streams[fd]
        os.close(fd)
        return ()

    def _read_status(self) -> None:
        line = os.read(self._status, 64).strip()
        if not line.isdigit():
            raise BottleGone(f"bottle '{self._name}' ended while a command ran in it")
        self._poll.unregister(self._status)
        self._returncode = int(line)
        self._linger_until = time.monotonic() + _LINGER

    def _lingered(self) -> bool:
        return self._linger_until is not None and time.monotonic() >= self._linger_until

    def _send_kill(self) -> None:
        self._ask_to_kill()

    def _close(self) -> None:
        for fd in (*self._streams, self._status):
            with contextlib.suppress(OSError):
                os.close(fd)
        self._streams, self._status = {}, -1
