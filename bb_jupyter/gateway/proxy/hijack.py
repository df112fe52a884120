"""Takes a connection over from aiohttp's server after CONNECT."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from bb_jupyter.gateway.proxy.client_hello import ClientHello, NotTls, read_client_hello

_MOST: Final = 65536


class ClientHelloReader:
    """Collects what a client sends after CONNECT, up to its whole ClientHello.

    aiohttp's request handler feeds it through `set_parser`, as it feeds aiohttp's own WebSockets, from the first byte
    after the CONNECT request on.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._ended = False
        self._changed = asyncio.Event()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes; return that more may come and that none are left over."""
        self._data += data
        self._ended = self._ended or len(self._data) > _MOST
        self._changed.set()
        return False, b""

    def feed_eof(self) -> None:
        """Note that no more bytes will come."""
        self._ended = True
        self._changed.set()

    def taken(self) -> bytes:
        """Return all bytes received so far."""
        return bytes(self._data)

    async def hello(self, limit: float) -> ClientHello:
        """Wait for a whole TLS ClientHello.

        Args:
            limit: seconds to wait.

        Raises:
            NotTls: something else came, or nothing in time.
        """
        try:
            async with asyncio.timeout(limit):
                while (hello := read_client_hello(self.taken())) is None:
                    if self._ended:
                        raise NotTls("the connection ended before a whole ClientHello")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise NotTls("no ClientHello in time") from None
        return hello


class HijackedResponse(web.StreamResponse):
    """The answer of a handler whose connection was taken over: it sends nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send no headers."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Send no end."""


def release(request: web.BaseRequest) -> HijackedResponse:
    """Tell aiohttp that the connection, whose protocol was replaced, is gone; return the handler's answer."""
    asyncio.get_running_loop().call_soon(request.protocol.connection_lost, None)
    return HijackedResponse()
