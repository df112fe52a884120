"""How a process of a bottle's trusted side talks to its owner: JSON lines on its standard streams, or on a socket.

The end of standard input is the owner's death.  A process that is kept lives on, and takes the same lines on a Unix
socket, whose every connection is greeted and gets all later events.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from bb_jupyter.gateway.control.gateway_events import Events
from bb_jupyter.gateway.control.stdio import LONGEST_LINE


class Lines(Protocol):
    """Where control messages come from."""

    async def readline(self) -> bytes:
        """Return the next line; none at the end."""


async def obey(reader: Lines, command: Callable[[bytes], None], events: Events) -> None:
    """Pass control messages on until the stream ends."""
    try:
        while line := await reader.readline():
            command(line)
    except (ValueError, ConnectionError):
        events.emit("error", error="a control message that is too long, or a broken control connection")


async def control_server(
    path: Path, greeting: Callable[[], bytes], command: Callable[[bytes], None], events: Events
) -> None:
    """Take control connections at *path*, for ever.

    Args:
        path: where to listen; what a former process left there is removed.
        greeting: the line that each connection gets first.
        command: obeys one control message.
        events: where each connection joins.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting())
        events.add(writer)
        await obey(reader, command, events)
        events.drop(writer)
        writer.close()

    path.unlink(missing_ok=True)
    with short(path) as address:
        server = await asyncio.start_unix_server(serve, address, limit=LONGEST_LINE)
    path.chmod(0o600)
    async with server:
        await server.serve_forever()


@contextmanager
def short(path: Path) -> Iterator[str]:
    """Give an address for a socket at *path* that fits into the 108 bytes of `sockaddr_un`, where Linux has one."""
    if not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
