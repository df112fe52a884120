"""Tunnels: they pass a client's TLS on, unread, to the host that both CONNECT and the ClientHello name."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

from bb_jupyter.gateway.proxy.flows import Flow

_HIGH_WATER = 1 << 18


class _Side(asyncio.Protocol):
    """One side of a tunnel: the other side sends what this one receives, and pauses its reading when full."""

    def __init__(self, flow: Flow, *, to_server: bool, lost: asyncio.Future[None]) -> None:
        self._count = flow.sent if to_server else flow.received
        self._lost = lost
        self.own: asyncio.Transport | None = None
        self.other: asyncio.Transport | None = None
        self.peer: _Side | None = None
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.own = cast("asyncio.Transport", transport)
        self.own.set_write_buffer_limits(_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        self._count(len(data))
        if self.other is not None:
            self.other.write(data)

    def eof_received(self) -> bool:
        """Pass a half-close on; after the second one, asyncio closes this side, and with it the other."""
        self.ended = True
        if self.other is not None and not self.other.is_closing():
            self.other.write_eof()
        return self.peer is not None and not self.peer.ended

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.close()
        if not self._lost.done():
            self._lost.set_result(None)


class Tunnel:
    """Copies bytes between a client's transport and a server's socket until both ends are closed.

    Args:
        client: transport of the client's connection; reading is paused, its protocol is replaced.
        server: connected socket; the tunnel owns it.
    """

    def __init__(self, client: asyncio.Transport, server: socket.socket) -> None:
        self._client, self._socket = client, server
        self._transport: asyncio.Transport | None = None

    def abort(self) -> None:
        """End both sides at once."""
        self._client.abort()
        if self._transport is not None:
            self._transport.abort()

    async def run(self, first: bytes, flow: Flow) -> None:
        """Copy until the connection ends.

        Args:
            first: what the client has sent already.
            flow: counts the bytes.
        """
        loop = asyncio.get_running_loop()
        lost: tuple[asyncio.Future[None], asyncio.Future[None]] = (loop.create_future(), loop.create_future())
        up = _Side(flow, to_server=True, lost=lost[0])
        down = _Side(flow, to_server=False, lost=lost[1])
        up.peer, down.peer, down.other = down, up, self._client
        self._transport, _ = await loop.create_connection(lambda: down, sock=self._socket)
        up.other = self._transport
        self._client.set_protocol(up)
        up.connection_made(self._client)
        if self._client.is_closing():
            self._transport.abort()
            up.connection_lost(None)
        up.data_received(first)
        self._client.resume_reading()
        await asyncio.gather(*lost)
