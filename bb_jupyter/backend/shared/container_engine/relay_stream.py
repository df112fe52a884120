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
#: Of a piece of the container's output: stream number, three zeros, length ("Stream format" in the API's reference).
_HEADER = struct.Struct(">BxxxL")
_STDOUT = 1
#: Longest answer that is read of an engine that refuses.
_LONGEST = 1 << 14
#: Seconds that the engine may take to answer.
_PATIENCE = 120.0
#: Seconds in which what a container wrote before its end arrives.
_LAST_WORDS = 0.5


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

    def read(self) -> bytes:
        """Return some bytes, or none at the end."""
        while True:
            with self._turn:
                try:
                    return self._socket.recv(_CHUNK)
                except self._waits:
                    pass
                except OSError:
                    return b""
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
    frames, stream, left = bytearray(), 0, 0
    while data := connection.read():
        frames += data
        while len(frames) >= (1 if left else _HEADER.size):
            if not left:
                stream, left = _HEADER.unpack_from(frames)
                del frames[: _HEADER.size]
            piece = bytes(frames[:left])
            del frames[:left]
            left -= len(piece)
            if stream == _STDOUT and piece:
                yield piece


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
