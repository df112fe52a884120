"""What a command reads: bytes or a file, handed on piece by piece as the engine takes it."""

from __future__ import annotations

import socket
from typing import IO

_PIECE = 1 << 18


class Stdin:
    """Input on its way to a command.

    Args:
        source: bytes, or a binary file that is read to its end.
    """

    def __init__(self, source: bytes | IO[bytes]) -> None:
        self._file = None if isinstance(source, bytes) else source
        self._rest = memoryview(source if isinstance(source, bytes) else b"")

    def send(self, sock: socket.socket) -> bool:
        """Send one piece over a socket that is ready for it.

        Returns:
            Whether there may be more.

        Raises:
            OSError: nobody reads it any more.
        """
        if not self._rest and self._file is not None:
            self._rest = memoryview(self._file.read(_PIECE))
        if not self._rest:
            return False
        self._rest = self._rest[sock.send(self._rest[:_PIECE]) :]
        return True
