"""The standard output of an execution, as a file."""

from __future__ import annotations

import io

from bb_jupyter.backend.execution import Execution


class Output(io.RawIOBase):
    """Reads what a command writes to its standard output, waiting for it.

    Args:
        execution: the command; nobody else reads it.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._pending = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill *buffer* with what has come, waiting for the first byte; 0 at the end."""
        while not self._pending and self._execution.running:
            data = b"".join(chunk.data for chunk in self._execution.poll() if chunk.stream == "stdout")
            self._pending = memoryview(data)
        size = min(len(buffer), len(self._pending))
        buffer[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        return size
