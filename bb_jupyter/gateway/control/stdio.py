"""Standard input and output as asyncio streams.  Standard library only, and little of it: every relay waits for it."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

LONGEST_LINE: Final = 16 * 1024 * 1024


async def standard_streams() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return standard input and output as streams."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LONGEST_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    flow = asyncio.streams.FlowControlMixin(loop)
    transport, protocol = await loop.connect_write_pipe(lambda: flow, sys.stdout)
    transport.set_write_buffer_limits(1 << 20)
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)
