"""The stream of a broker's relay ends with the relay's container, whatever the engine does with it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

from bb_jupyter.backend.shared.container_engine import relay_stream


class Engine:
    """An engine that leaves the stream of a dead container open.

    Args:
        path: its socket.
    """

    def __init__(self, path: Path) -> None:
        self.container_ended = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            self._open.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        request = connection.recv(1 << 12)
        if b"/attach" in request:
            connection.sendall(b"HTTP/1.1 101 UPGRADED\r\n\r\n" + b"\1\0\0\0\0\0\0\5hello")
        elif b"/start" in request:
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif b"/wait" in request:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self.container_ended.wait(60)
            connection.sendall(b'{"StatusCode": 137}')
            connection.close()


def test_it_ends_although_the_engine_leaves_the_stream_open(tmp_path: Path) -> None:
    engine = Engine(tmp_path / "engine")
    settings = json.dumps({"engine": {"unix": str(tmp_path / "engine")}, "container": "/containers/relay"})
    command = [sys.executable, "-P", relay_stream.__file__, settings]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.read(5) == b"hello"
        assert process.poll() is None
        engine.container_ended.set()
        assert process.stdout.read() == b""
        assert process.wait(60) == 0
