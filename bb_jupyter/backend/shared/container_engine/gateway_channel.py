"""The connection to a gateway in a container: attached to its first process, or to an exec beside it."""

from __future__ import annotations

import threading

from bb_jupyter.backend.shared.container_engine.stream import RawStream

#: Seconds between two tries to send to a gateway that does not read.
_AGAIN = 0.05


class GatewayChannel:
    """A `bb_jupyter.gateway.control.gateway_client.Channel`: one thread reads, others write and close.

    The lock is never held while waiting, and never missing while the stream is used: one TLS connection must not be
    read and written at once.

    Args:
        stream: to the gateway.
    """

    def __init__(self, stream: RawStream) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def read(self) -> bytes:
        """Return some bytes, or none at the end; what comes on standard error is a crash, and told by the end."""
        while not self._stream.ended:
            self._stream.wait(None)
            with self._lock:
                chunks = self._stream.read()
            if data := b"".join(chunk.data for chunk in chunks if chunk.stream == "stdout"):
                return data
        self._stream.close()
        return b""

    def write(self, data: bytes) -> None:
        """Send all bytes.

        Raises:
            OSError: the other end is gone.
        """
        while data:
            with self._lock:
                data = data[self._stream.send(data) :]
            if data:
                self._stream.wait_to_send(_AGAIN)

    def close(self) -> None:
        """Hang up, which a gateway takes as its owner's end; idempotent."""
        with self._lock:
            self._stream.hang_up()
