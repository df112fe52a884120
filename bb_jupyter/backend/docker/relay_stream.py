"""Joins standard input and output to a relay's container: ``python -m bb_jupyter.backend.docker.relay_stream NAME``.

A child of the desk, so that the stream outlives the kernel and the desk knows nothing of engines.  It reads one line,
by which the desk says that the bottle runs, then attaches to the container and starts it.  What goes wrong it says in
the relay's own words.
"""

from __future__ import annotations

import os
import sys
import threading

from bb_jupyter.backend.docker import engine
from bb_jupyter.backend.docker.gateway_channel import GatewayChannel
from bb_jupyter.backend.docker.stream import RawStream
from bb_jupyter.errors import BottleError
from bb_jupyter.gateway.relay import failure

_CHUNK = 1 << 16


def _line() -> bool:
    """Wait for a line, without taking more; false when the desk hung up."""
    while byte := os.read(0, 1):
        if byte == b"\n":
            return True
    return False


def _attached(container: str) -> GatewayChannel:
    client = engine.client()
    with engine.errors("start the relay of the bottle's desk"):
        wanted = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        stream = RawStream(client.attach_socket(container, params=wanted))
        try:
            client.start(container)
        except BaseException:
            stream.close()
            raise
        return GatewayChannel(stream)


def _send(channel: GatewayChannel) -> None:
    try:
        while data := os.read(0, _CHUNK):
            channel.write(data)
    except OSError:
        pass  # the relay is gone; its end is read in the other direction
    channel.close()


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def join(container: str) -> None:
    """Copy both ways until one end is gone."""
    if not _line():
        return
    try:
        channel = _attached(container)
    except BottleError as error:
        return _write(failure(error.message))
    threading.Thread(target=_send, args=(channel,), daemon=True).start()
    while data := channel.read():
        _write(data)


if __name__ == "__main__":
    try:
        join(sys.argv[1])
    except BrokenPipeError:
        sys.exit(1)  # the desk is gone
