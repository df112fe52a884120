"""The raw stream of an exec or of a container: a hijacked HTTP connection, output in frames one way, stdin the other.

A frame is 8 bytes of header (stream number, three zeros, big-endian length) and its payload; see "Stream format" of
`POST /containers/{id}/attach` in the Engine API's reference.
"""

from __future__ import annotations

import contextlib
import io
import select
import socket
import ssl
import struct
from typing import Any

import docker

from bb_jupyter.backend.execution import Chunk, Stream
from bb_jupyter.backend.shared.container_engine.stdin import Stdin

_HEADER = struct.Struct(">BxxxL")
_BUFFER = 1 << 18
_NAMES: dict[int, Stream] = {1: "stdout", 2: "stderr"}
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
        self._buffer = bytearray(_BUFFER)
        self._filled = 0
        self._stream: Stream = "stdout"
        self._left = 0
        self.ended = False
        self._take_early(self._response.raw._fp.fp)

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
        if self._filled >= _HEADER.size or self._pending():
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
        try:
            got = self._socket.recv_into(memoryview(self._buffer)[self._filled :])
            self.ended = got == 0
            self._filled += got
        except _WOULD_BLOCK:
            pass
        except OSError:
            self.ended = True  # the engine or the connection died; its container tells which
        return self._parse()

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

    def _take_early(self, buffered: io.BufferedReader | None) -> None:
        """Take what arrived together with the HTTP header: the response's buffer swallowed it."""
        early = b""
        with contextlib.suppress(*_WOULD_BLOCK):  # nothing came early: TLS says so by an error
            early = buffered.peek()[:_BUFFER] if buffered is not None else b""
        self._buffer[: len(early)] = early
        self._filled = len(early)

    def _pending(self) -> bool:
        return bool(isinstance(self._socket, ssl.SSLSocket) and self._socket.pending())

    def _parse(self) -> list[Chunk]:
        """Cut the buffer into frames, neighbours of one stream joined; what is left of a header stays."""
        chunks: list[Chunk] = []
        pieces: list[memoryview] = []
        view, at = memoryview(self._buffer), 0
        while at < self._filled:
            if not self._left:
                if self._filled - at < _HEADER.size:
                    break
                number, self._left = _HEADER.unpack_from(view, at)
                at += _HEADER.size
                stream = _NAMES.get(number, "stderr")
                if stream != self._stream:
                    _join(chunks, self._stream, pieces)
                    self._stream = stream
            size = min(self._left, self._filled - at)
            pieces.append(view[at : at + size])
            at, self._left = at + size, self._left - size
        _join(chunks, self._stream, pieces)
        self._buffer[: self._filled - at] = self._buffer[at : self._filled]
        self._filled -= at
        return chunks

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


def _join(chunks: list[Chunk], stream: Stream, pieces: list[memoryview]) -> None:
    """Move *pieces* to the end of *chunks* as one chunk."""
    if data := b"".join(pieces):
        chunks.append(Chunk(stream, data))
    pieces.clear()


def _close_sending(sock: socket.socket) -> None:
    """Tell the other side that no more comes, and go on reading."""
    if isinstance(sock, ssl.SSLSocket):
        with contextlib.suppress(OSError):
            sock.unwrap()  # sends close_notify; the answer to it comes with the end of the output
    else:
        sock.shutdown(socket.SHUT_WR)
