"""JSON lines over pipes and Unix sockets: how the processes of the package talk to one another.

One message is one JSON object on one line.  Standard library only and quick to import: kernels, gateways, brokers and
git's hooks use it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

#: Most bytes of one message.
LONGEST_LINE: Final = 16 << 20
_CHUNK: Final = 1 << 16


def encode(**message: object) -> bytes:
    """Return a message as a line.

    Raises:
        TypeError: a value is no plain JSON.
    """
    return json.dumps(message).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any] | None:
    """Return the message that a line holds; ``None`` when it holds no JSON object."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def receive_line(connection: socket.socket, *, timeout: float, longest: int = LONGEST_LINE) -> bytes:
    """Return the next line that arrives on a socket, without anything after it.

    Args:
        connection: a stream socket; its timeout is changed.
        timeout: seconds to wait for the whole line.
        longest: most bytes of it.

    Raises:
        TimeoutError: it did not arrive in time.
        OSError: the connection broke, or ended before the line did.
        ValueError: the line is too long.
    """
    end, data = time.monotonic() + timeout, bytearray()
    while b"\n" not in data:
        if len(data) > longest:
            raise ValueError(f"a line of more than {longest} bytes")
        if (left := end - time.monotonic()) <= 0:
            raise TimeoutError("no whole line in time")
        connection.settimeout(left)
        if not (piece := connection.recv(_CHUNK)):
            raise ConnectionError("the connection ended within a line")
        data += piece
    return bytes(data[: data.index(b"\n") + 1])


@contextmanager
def short_address(path: Path) -> Iterator[str]:
    """Provide an address of the Unix socket at *path* that fits into the 108 bytes of `sockaddr_un` (unix(7)).

    Where there is no /proc, as on macOS, the address is the path itself.
    """
    if not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path, backlog: int = 128) -> socket.socket:
    """Return a socket that listens at *path*, for this user alone; what a former process left there is removed.

    Raises:
        OSError: the folder cannot be written.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    try:
        with short_address(path) as address:
            listener.bind(address)
        path.chmod(0o600)
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def connect(path: Path, timeout: float | None = None) -> socket.socket:
    """Return a connection to the socket at *path*.

    Args:
        path: where a process listens.
        timeout: seconds; also of what is done with the connection later.

    Raises:
        OSError: nothing listens there.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        with short_address(path) as address:
            connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection
