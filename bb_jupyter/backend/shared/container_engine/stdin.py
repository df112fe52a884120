"""What a command reads: bytes or a file, handed on piece by piece as the engine takes it."""

from __future__ import annotations

import io
import os
import socket
import stat
from typing import IO

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
