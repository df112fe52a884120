"""Joins standard input and output to a relay's container: a child of the broker, so that the stream outlives the
kernel.

``python relay_stream.py SETTINGS``: a script that imports little of the standard library and nothing else, for a launch
waits for it (25 ms of processor time; with the SDK it took 400).  It reads one line, by which the broker says that the
bottle runs, then attaches to the container and starts it: `POST /containers/{id}/attach` and `…/start` of the Engine
API.  What goes wrong it says in the relay's own words.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

_CHUNK = 1 << 16
STDOUT, STDERR = 1, 2
#: Longest answer that is read of an engine that refuses.
_LONGEST = 1 << 14
#: Seconds that the engine may take to answer.
_PATIENCE = 120.0
#: Seconds in which what a container wrote before its end arrives.
_LAST_WORDS = 0.5


class Frames:
    """A buffer that the output of a container is read into, and cut into frames.

    A frame is 8 bytes of header (stream number, three zeros, big-endian length) and its payload; see "Stream format" of
    `POST /containers/{id}/attach` in the Engine API's reference.

    Args:
        size: bytes of the buffer.
        early: what has come already, of at most *size* bytes.
    """

    HEADER = struct.Struct(">BxxxL")

    def __init__(self, size: int, early: bytes = b"") -> None:
        self._buffer = bytearray(size)
        self._buffer[: len(early)] = early
        self._filled = len(early)
        self._stream = STDOUT
        self._left = 0

    @property
    def waiting(self) -> bool:
        """Whether `take` has something to cut without more having come."""
        return self._filled >= self.HEADER.size

    def space(self) -> memoryview:
        """Return where the next bytes go."""
        return memoryview(self._buffer)[self._filled :]

    def take(self, count: int) -> list[tuple[int, bytes]]:
        """Cut what is there into (stream number, bytes), neighbours of one stream joined.

        Args:
            count: how many bytes have been written to `space`.
        """
        self._filled += count
        found: list[tuple[int, bytes]] = []
        pieces: list[memoryview] = []
        view, at = memoryview(self._buffer), 0
        while at < self._filled:
            if not self._left:
                if self._filled - at < self.HEADER.size:
                    break
                stream, self._left = self.HEADER.unpack_from(view, at)
                at += self.HEADER.size
                if stream != self._stream:
                    _join(found, self._stream, pieces)
                    self._stream = stream
            size = min(self._left, self._filled - at)
            pieces.append(view[at : at + size])
            at, self._left = at + size, self._left - size
        _join(found, self._stream, pieces)
        self._buffer[: self._filled - at] = self._buffer[at : self._filled]
        self._filled -= at
        return found


def _join(found: list[tuple[int, bytes]], stream: int, pieces: list[memoryview]) -> None:
    """Move *pieces* to the end of *found* as one."""
    if data := b"".join(pieces):
        found.append((stream, data))
    pieces.clear()


class Connection:
    """A connection to the engine.  It is never read and written at once, which TLS would not stand.

    Args:
        settings: `unix`, the path of a socket; or `host` and `port`, and maybe `tls`: `ca` (a path; true for the
            system's; false for whoever answers) and `cert`, the paths of a certificate and its key, or none.

    Raises:
        OSError: the engine does not answer.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._turn = threading.Lock()
        self._waits: tuple[type[OSError], ...] = (BlockingIOError,)
        if "unix" in settings:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(_PATIENCE)
            self._socket.connect(settings["unix"])
        else:
            self._socket = socket.create_connection((settings["host"], settings["port"]), _PATIENCE)
        if tls := settings.get("tls"):
            self._secure(settings["host"], **tls)

    def _secure(self, host: str, ca: str | bool, cert: list[str]) -> None:
        import ssl

        context = ssl.create_default_context(cafile=ca if isinstance(ca, str) else None)
        if not ca:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if cert:
            context.load_cert_chain(*cert)
        self._socket = context.wrap_socket(self._socket, server_hostname=host)
        self._waits += (ssl.SSLWantReadError, ssl.SSLWantWriteError)

    def post(self, path: str, *, upgrade: bool = False) -> None:
        """Send a request without a body, and read the head of its answer.

        Raises:
            OSError: the engine refuses, or is gone.
        """
        more = "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else "Connection: close\r\n"
        self._socket.sendall(f"POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n{more}\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):  # byte by byte: what follows may be the stream already
            byte = self._socket.recv(1)
            if not byte or len(head) > _LONGEST:
                raise OSError("the engine does not answer")
            head += byte
        status = int(head.split(None, 2)[1])
        if status not in (101, 200, 204, 304):
            raise OSError(_complaint(self._socket.recv(_LONGEST)) or f"the engine answers {status}")

    def wait_answer(self) -> bool:
        """Wait, for ever, until the body of an answer begins; return whether it does."""
        self._socket.settimeout(None)
        try:
            return bool(self._socket.recv(_LONGEST))
        except OSError:
            return False

    def stream(self) -> Connection:
        """Wait for nothing from now on but in `read` and `write`."""
        self._socket.setblocking(False)
        return self

    def read_into(self, space: memoryview) -> int:
        """Wait for some bytes, write them to *space* and return how many those are; 0 at the end."""
        while True:
            with self._turn:
                try:
                    return self._socket.recv_into(space)
                except self._waits:
                    pass
                except OSError:
                    return 0
            select.select([self._socket], [], [])

    def write(self, data: bytes) -> None:
        """Send all bytes.

        Raises:
            OSError: the other end is gone.
        """
        while data:
            with self._turn, contextlib.suppress(*self._waits):
                data = data[self._socket.send(data) :]
            if data:
                select.select([], [self._socket], [])

    def hang_up(self) -> None:
        """End it both ways; who reads is told."""
        with self._turn:
            self._socket.shutdown(socket.SHUT_RDWR)


def _complaint(body: bytes) -> str:
    """Return what the engine says: JSON, but for one that has turned the connection into a stream already."""
    try:
        text = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        text = body.decode("utf-8", "replace")
    return " ".join(str(text).split())


def _line() -> bool:
    """Wait for a line, without taking more; false when the broker hung up."""
    while byte := os.read(0, 1):
        if byte == b"\n":
            return True
    return False


def _send(connection: Connection) -> None:
    try:
        while data := os.read(0, _CHUNK):
            connection.write(data)
        connection.hang_up()
    except OSError:
        pass  # the relay is gone; its end is read in the other direction


def _output(connection: Connection) -> Iterator[bytes]:
    """Yield what the container writes to its standard output, as it comes; its errors are told by its end."""
    frames = Frames(_CHUNK)
    while count := connection.read_into(frames.space()):
        yield from (data for stream, data in frames.take(count) if stream == STDOUT)


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def _hang_up_at_end(engine: dict[str, Any], container: str, stream: Connection) -> None:
    """End the stream when its container has ended.

    The stream normally ends with the container; this does not depend on it.  The engine sends the head of its answer at
    once, and the body when the container has ended.
    """
    try:
        waiting = Connection(engine)
        waiting.post(f"{container}/wait?condition=not-running")
        if waiting.wait_answer():
            time.sleep(_LAST_WORDS)
            stream.hang_up()
    except OSError:
        pass  # the stream ends by itself, as it nearly always does


def join(engine: dict[str, Any], container: str) -> None:
    """Copy both ways until one end is gone.

    Args:
        engine: see `Connection`.
        container: path of the relay's, such as ``/v1.41/containers/NAME``.

    Raises:
        OSError: the engine refuses, or is gone.
    """
    stream = Connection(engine)
    stream.post(f"{container}/attach?stream=1&stdin=1&stdout=1&stderr=1", upgrade=True)
    Connection(engine).post(f"{container}/start")
    threading.Thread(target=_send, args=(stream.stream(),), daemon=True).start()
    threading.Thread(target=_hang_up_at_end, args=(engine, container, stream), daemon=True).start()
    for data in _output(stream):
        _write(data)


def main(settings: str) -> int:
    """Do as the command line says; the exit status is 1 when the broker is gone."""
    try:
        if _line():
            join(**json.loads(settings))
    except BrokenPipeError:
        return 1
    except OSError as error:
        from bb_jupyter.gateway.handoff.mux import failure

        _write(failure(f"cannot start the relay of the bottle's broker: {error}"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
