"""The stream of an exec or of a container: a hijacked HTTP connection, output in frames one way, stdin the other."""

from __future__ import annotations

import contextlib
import io
import os
import select
import socket
import ssl
import stat
from typing import IO, Any

import docker

from bb_jupyter.backend.execution import Chunk, Stream
from bb_jupyter.backend.shared.container_engine.relay_stream import STDERR, STDOUT, Frames

_BUFFER = 1 << 18
_NAMES: dict[int, Stream] = {STDOUT: "stdout", STDERR: "stderr"}
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class RawStream:
    """The host's end of a connection.  Never blocks but in `wait`.

    Args:
        raw: what docker-py's `exec_start(socket=True)` or `attach_socket` returned.
        stdin: what to send; `None` when there is nothing.
    """

    def __init__(self, raw: Any, stdin: Stdin | None = None) -> None:  # noqa: ANN401 - docker-py has no types
        self._response = raw._response
        self._socket: Any = getattr(raw, "_sock", raw)
        self._socket.setblocking(False)
        self._stdin = stdin
        self.ended = False
        self._frames = Frames(_BUFFER, _early(self._response.raw._fp.fp))

    def give(self, stdin: Stdin) -> None:
        """Begin to send *stdin*, which was not there at the start."""
        self._stdin = stdin

    @classmethod
    def of_exec(cls, client: docker.APIClient, exec_id: str, stdin: Stdin | None = None) -> RawStream:
        """Start an exec that was created, and return its stream.

        Raises:
            APIError: the engine refuses to start it.
        """
        return cls(client.exec_start(exec_id, socket=True), stdin)

    def wait(self, timeout: float | None) -> None:
        """Wait up to *timeout* seconds (`None`: without limit) for output, or until a piece of input was passed on."""
        if self._frames.waiting or self._pending():
            return
        source = self._stdin.source if self._stdin is not None else None
        poll = select.poll()
        sends = self._stdin is not None and source is None
        poll.register(self._socket, select.POLLIN | (select.POLLOUT if sends else 0))
        if source is not None:
            poll.register(source, select.POLLIN)
        ready = dict(poll.poll(None if timeout is None else max(0.0, timeout) * 1000))
        if self._stdin is not None and (source in ready or ready.get(self._socket.fileno(), 0) & select.POLLOUT):
            self._feed(self._stdin)

    def read(self) -> list[Chunk]:
        """Return the output that is there; sets `ended` at the end of the stream."""
        got = 0
        try:
            got = self._socket.recv_into(self._frames.space())
            self.ended = got == 0
        except _WOULD_BLOCK:
            pass
        except OSError:
            self.ended = True  # the engine or the connection died; its container tells which
        return [Chunk(_NAMES.get(stream, "stderr"), data) for stream, data in self._frames.take(got)]

    def send(self, data: bytes) -> int:
        """Send what goes out at once of *data*; return how many bytes that were, maybe none.

        Raises:
            OSError: nobody reads any more.
        """
        try:
            return int(self._socket.send(data))
        except _WOULD_BLOCK:
            return 0

    def wait_to_send(self, timeout: float) -> None:
        """Wait up to *timeout* seconds until more can be sent."""
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        poll.poll(timeout * 1000)

    def hang_up(self) -> None:
        """End the connection both ways; whoever waits for output wakes up, and closes it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection.  Idempotent; the command is not told."""
        self._stdin = None
        with contextlib.suppress(OSError):
            self._socket.close()
        self._response.close()

    def _pending(self) -> bool:
        return bool(isinstance(self._socket, ssl.SSLSocket) and self._socket.pending())

    def _feed(self, stdin: Stdin) -> None:
        try:
            if stdin.send(self._socket):
                return
            _close_sending(self._socket)
        except _WOULD_BLOCK:
            return
        except OSError:
            pass  # the command ended without reading all
        self._stdin = None


def _early(buffered: io.BufferedReader | None) -> bytes:
    """Return what arrived together with the HTTP header: the response's buffer swallowed it."""
    with contextlib.suppress(*_WOULD_BLOCK):  # nothing came early: TLS says so by an error
        return buffered.peek()[:_BUFFER] if buffered is not None else b""
    return b""


def _close_sending(sock: socket.socket) -> None:
    """Tell the other side that no more comes, and go on reading."""
    if isinstance(sock, ssl.SSLSocket):
        with contextlib.suppress(OSError):
            sock.unwrap()  # sends close_notify; the answer to it comes with the end of the output
    else:
        sock.shutdown(socket.SHUT_WR)


_PIECE = 1 << 18


class Stdin:
    """Input on its way to a command.

    Args:
        given: bytes, or a binary file that is read to its end.
    """

    def __init__(self, given: bytes | IO[bytes]) -> None:
        self._file = None if isinstance(given, bytes) else given
        self._rest = memoryview(given if isinstance(given, bytes) else b"")
        self._pipe = _pipe_of(self._file)

    @property
    def source(self) -> int | None:
        """Descriptor to wait for before the next `send`; `None` when there is something at hand."""
        return None if self._rest else self._pipe

    def send(self, sock: socket.socket) -> bool:
        """Send one piece over *sock*, which does not block.

        Returns:
            Whether there may be more.

        Raises:
            OSError: it would block, or nobody reads any more.
        """
        if not self._rest and self._file is not None:
            # One read at most of what may be a pipe: it must not wait for more than is there.
            read = getattr(self._file, "read1", self._file.read)
            self._rest = memoryview(read(_PIECE) or b"")
        if not self._rest:
            return False
        self._rest = self._rest[sock.send(self._rest[:_PIECE]) :]
        return True


def _pipe_of(file: IO[bytes] | None) -> int | None:
    """Return the descriptor of a file whose bytes come when they come; `None` for one that has them all."""
    if file is None:
        return None
    try:
        descriptor = file.fileno()
    except (OSError, AttributeError, io.UnsupportedOperation):
        return None
    return None if stat.S_ISREG(os.fstat(descriptor).st_mode) else descriptor
