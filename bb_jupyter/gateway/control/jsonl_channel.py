"""The control channel of a gateway or a broker: JSON lines on its standard streams, or on a Unix socket.

The end of standard input means that the owner has died.  A process that is kept lives on then, and takes the same
messages on a socket; each connection there gets a greeting first and every later event.

Standard library only and little of it, for every relay loads this.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bb_jupyter.process.jsonl import LONGEST_LINE, listen

if TYPE_CHECKING:
    from bb_jupyter.gateway.control.gateway_events import Events


class LineReader(Protocol):
    """The source of control messages."""

    async def readline(self) -> bytes:
        """Return the next line; ``b""`` at the end."""


async def standard_streams() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return standard input and output as asyncio streams."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LONGEST_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    flow = asyncio.streams.FlowControlMixin(loop)
    transport, protocol = await loop.connect_write_pipe(lambda: flow, sys.stdout)
    transport.set_write_buffer_limits(1 << 20)
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)


async def obey(reader: LineReader, command: Callable[[bytes], None], events: Events) -> None:
    """Pass each control message to *command* until the stream ends."""
    try:
        while line := await reader.readline():
            command(line)
    except (ValueError, ConnectionError):
        events.emit("error", error="a control message that is too long, or a broken control connection")


async def control_server(
    path: Path, greeting: Callable[[], bytes], command: Callable[[bytes], None], events: Events
) -> None:
    """Accept control connections at *path*, for ever.

    Args:
        path: the socket; one that a former process left there is replaced.
        greeting: returns the line that each connection gets first.
        command: obeys one control message.
        events: joined by each connection.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting())
        events.add(writer)
        await obey(reader, command, events)
        events.drop(writer)
        writer.close()

    async with await asyncio.start_unix_server(serve, sock=listen(path), limit=LONGEST_LINE) as server:
        await server.serve_forever()
