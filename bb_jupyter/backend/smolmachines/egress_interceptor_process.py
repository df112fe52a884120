"""The process of the egress interceptor: authenticates each connection and passes it on to its service's socket.

The machine's network begins each connection with (smolvm-protocol, `intercept.rs`, version 1; integers big-endian):
8 bytes `SMOLICPT`, 1 byte version, 32 bytes token, 1 byte family (4 or 6), 2 bytes port, 4 or 16 bytes address.  The
answer is one byte: 0, or the errno that the guest's connect gets.  The guest sees neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import json
import socket
import sys
from ipaddress import IPv4Address
from pathlib import Path

from bb_jupyter.gateway import GATE_ADDRESS, PORTS
from bb_jupyter.process.jsonl import short_address

_MAGIC = b"SMOLICPT\x01"
_TOKEN = 32
_GATE = IPv4Address(GATE_ADDRESS).packed
_SERVICES = {port: service for service, port in PORTS.items()}
#: Seconds until a connection must have sent its greeting.
_GREETING = 10.0
_PIECE = 1 << 16
#: Most connections at a time.
_MOST = 1024


class InterceptorServer:
    """Serves connections of one machine.

    Args:
        token: 32 bytes by which they authenticate themselves.
        folder: the folder of the services' sockets.
    """

    def __init__(self, token: bytes, folder: Path) -> None:
        self._token, self._folder = token, folder
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        self._open += 1
        try:
            if self._open <= _MOST:
                async with asyncio.timeout(_GREETING):
                    service = await self._greet(reader)
                    there = await self._enter(service, writer)
                if there is not None:
                    await _join((reader, writer), there)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # a client without the greeting gets no answer
        finally:
            self._open -= 1
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader) -> str:
        """Read the greeting; return the name of the service, empty if there is none at that address and port.

        Raises:
            OSError: the client is not our machine's network.
        """
        head = await reader.readexactly(len(_MAGIC) + _TOKEN + 3)
        token = head[len(_MAGIC) : len(_MAGIC) + _TOKEN]
        family, port = head[-3], int.from_bytes(head[-2:], "big")
        if not head.startswith(_MAGIC) or not hmac.compare_digest(token, self._token) or family not in (4, 6):
            raise OSError("not our machine")
        address = await reader.readexactly(4 if family == 4 else 16)
        return _SERVICES.get(port, "") if address == _GATE else ""

    async def _enter(
        self, service: str, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Connect to the service and answer the greeting."""
        there = None
        if service:
            with contextlib.suppress(OSError), short_address(self._folder / f"{service}.sock") as address:
                there = await asyncio.open_unix_connection(address)
        writer.write(bytes([0 if there else errno.ECONNREFUSED]))
        await writer.drain()
        return there


async def _join(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter], other: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Copy in both directions until both ends have closed."""
    try:
        await asyncio.gather(_pass_on(one[0], other[1]), _pass_on(other[0], one[1]))
    finally:
        other[1].close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


async def _main(descriptor: int) -> None:
    """Serve until standard input, which the owner holds, ends."""
    settings = json.loads(sys.stdin.buffer.readline())
    server = InterceptorServer(bytes.fromhex(settings["token"]), Path(settings["folder"]))
    with socket.socket(fileno=descriptor) as listener:
        async with await asyncio.start_server(server.serve, sock=listener):
            await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
