"""The owner's client of a gateway or broker: it sends control messages, reads events on a thread, ends the process."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from bb_jupyter.gateway.audit.audit_log import AuditLog
from bb_jupyter.process.jsonl import connect, decode, encode

Event = dict[str, Any]
_CHUNK: Final = 1 << 16
#: Seconds that a process may take to end: one that was ready, and one that has reported nothing yet.
_END, _BEGINNING = 8.0, 0.1


class Channel(Protocol):
    """A duplex byte stream to a gateway or a broker."""

    def read(self) -> bytes:
        """Return some bytes, or ``b""`` at the end."""

    def write(self, data: bytes) -> None:
        """Send all bytes; raises OSError when the other end is gone."""

    def close(self) -> None:
        """Close it, which the other end takes as its owner's end; idempotent."""


class PipeChannel:
    """The pipes of a child process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("the process needs pipes for standard input and output")
        self._in, self._out = process.stdin, process.stdout

    def read(self) -> bytes:
        """See `Channel`."""
        return os.read(self._out.fileno(), _CHUNK)

    def write(self, data: bytes) -> None:
        """See `Channel`."""
        self._in.write(data)
        self._in.flush()

    def close(self) -> None:
        """See `Channel`."""
        with contextlib.suppress(OSError):
            self._in.close()


class SocketChannel:
    """A control connection to a process that is kept.

    Args:
        path: its control socket.

    Raises:
        OSError: nothing listens there.
    """

    def __init__(self, path: Path) -> None:
        self._socket = connect(path)

    def read(self) -> bytes:
        """See `Channel`."""
        return self._socket.recv(_CHUNK)

    def write(self, data: bytes) -> None:
        """See `Channel`."""
        self._socket.sendall(data)

    def close(self) -> None:
        """See `Channel`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the reader thread
        self._socket.close()


class ControlClient(ABC):
    """Holds one process: a reader thread takes its events as they come, whatever the kernel's main thread does.

    Args:
        kind: what it is, such as ``gateway``; its death is the event ``gateway-died``.
        channel: to the process.
        audit: where its death is written down, and what else is the owner's to write; closed at its end.
        on_event: called with each event, on the reader thread: it must be quick.  The last one is the process's death,
            unless it was stopped.
        process: the process, if it is a child of this one.
    """

    def __init__(
        self,
        kind: str,
        channel: Channel,
        *,
        audit: AuditLog | None,
        on_event: Callable[[Event], None] | None,
        process: subprocess.Popen[bytes] | None,
    ) -> None:
        self._kind, self._channel, self._audit, self._process = kind, channel, audit, process
        self._on_event = on_event or (lambda _: None)
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._ready: Event | None = None
        self._stopping = self._ended = False
        self._reader = threading.Thread(target=self._read, name=f"bottle-{kind}", daemon=True)

    @abstractmethod
    def _take(self, events: list[Event], lines: list[bytes]) -> None:
        """Act, on the reader thread, on events that arrived together; *lines* are the same events as they were sent."""

    @abstractmethod
    def _of_death(self) -> Event:
        """Return more fields for the event that reports the death of the process."""

    @property
    def alive(self) -> bool:
        """Whether it has started and is there."""
        return self._ready is not None and not self._ended

    def begin_stop(self) -> None:
        """Tell it to end; does not wait.  Idempotent."""
        self._stopping = True
        self._tell(op="stop")

    def stop(self, *, timeout: float = _END) -> None:
        """End it and wait until it is gone; idempotent.

        Args:
            timeout: seconds after which it is killed.
        """
        self.begin_stop()
        if self._reader.ident is not None and threading.current_thread() is not self._reader:
            self._reader.join(timeout if self.alive else _BEGINNING)
        self.detach()
        if self._audit is not None:
            self._audit.close()
        if self._process is not None:
            self._reap(self._process, timeout)

    def _reap(self, process: subprocess.Popen[bytes], timeout: float) -> None:
        if self._ready is None:
            process.kill()  # it has done nothing yet that is worth a report
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def detach(self) -> None:
        """Close the channel; a process that is kept lives on."""
        self._stopping = True
        self._channel.close()

    def _send(self, **message: object) -> None:
        """Send a control message; raises OSError or ValueError when it is gone."""
        with self._writing:
            self._channel.write(encode(**message))

    def _tell(self, **message: object) -> None:
        """Send a control message; if the process is gone, the reader thread finds out."""
        with contextlib.suppress(OSError, ValueError):
            self._send(**message)

    def _write_down(self, events: list[Event], lines: list[bytes] | None = None) -> None:
        if self._audit is not None and events:
            with contextlib.suppress(OSError):  # a full disk must not end what the log is about
                self._audit.append(events, lines)

    def _wait(self, condition: Callable[[], object], timeout: float) -> bool:
        with self._changed:
            return bool(self._changed.wait_for(lambda: condition() or self._ended, timeout)) and bool(condition())

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(OSError, ValueError):
            while data := self._channel.read():
                *lines, rest = (rest + data).split(b"\n")
                pairs = [(line, event) for line in lines if (event := decode(line)) is not None]
                self._take([event for _, event in pairs], [line for line, _ in pairs])
        self._ended = True
        if not self._stopping:
            died = {"event": f"{self._kind}-died", "time": round(time.time(), 3), **self._of_death()}
            self._write_down([died])
            self._on_event(died)
        if self._audit is not None:
            self._audit.close()
        with self._changed:
            self._changed.notify_all()
