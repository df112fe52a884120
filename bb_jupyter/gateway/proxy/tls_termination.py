"""Ends a client's TLS with a certificate of the bottle's CA, and serves the HTTP inside."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from bb_jupyter.gateway.proxy.intercept import serve
from bb_jupyter.gateway.proxy.proxy_state import Origin, ProxyState


class _EarlyData(asyncio.Protocol):
    """Keeps bytes decrypted before the HTTP server is in place: a request may come with the handshake's last flight."""

    def __init__(self) -> None:
        self.data, self.lost = bytearray(), False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class _OneConnection(web.Server):
    """An HTTP server for a single connection; `gone` is done when that connection is."""

    def __init__(self, state: ProxyState, origin: Origin, options: dict[str, Any]) -> None:
        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            return await serve(state, request, origin, request.raw_path)

        super().__init__(handler, **options)
        self.gone = asyncio.get_running_loop().create_future()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        if not self.gone.done():
            self.gone.set_result(None)


def _replay(transport: asyncio.Transport, data: bytes) -> None:
    """Feed a transport's buffered protocol bytes that were read before it was in place."""
    protocol = cast("asyncio.BufferedProtocol", transport.get_protocol())
    view = memoryview(data)
    while view:
        buffer = memoryview(protocol.get_buffer(len(view)))
        count = min(len(buffer), len(view))
        buffer[:count] = view[:count]
        protocol.buffer_updated(count)
        view = view[count:]


async def serve_http(
    state: ProxyState, transport: asyncio.Transport, first: bytes, origin: Origin, options: dict[str, Any]
) -> None:
    """Serve requests on a connection until it is gone.

    Args:
        state: the proxy's.
        transport: the connection; reading may be paused.
        first: bytes that were read from it already.
        origin: where it leads; every request must name it.
        options: how aiohttp's server is set.
    """
    server = _OneConnection(state, origin, options)
    protocol = server()
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if first:
        protocol.data_received(first)
    transport.resume_reading()
    await server.gone


async def terminate(
    state: ProxyState, transport: asyncio.Transport, first: bytes, origin: Origin, options: dict[str, Any]
) -> None:
    """Do the TLS handshake as *origin*'s host, then `serve_http`; the same arguments, *first* being TLS."""
    loop, gate = asyncio.get_running_loop(), _EarlyData()
    context = state.ca.context(origin.host)
    handshake = loop.create_task(
        loop.start_tls(transport, gate, context, server_side=True, ssl_handshake_timeout=state.limits.connect)
    )
    # One turn of the loop: start_tls has put its protocol in place and scheduled connection_made and the resumption of
    # reading; what was read before is fed right after these two, so before anything newer.
    await asyncio.sleep(0)
    loop.call_soon(_replay, transport, first)
    try:
        secure = await handshake
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "reason", None) or type(error).__name__
        state.events.emit(
            "egress-failed", **origin.facts(), reason=f"TLS with the client failed ({reason}): does it trust the CA?"
        )
        transport.abort()
        return
    if secure is None or gate.lost or secure.is_closing():
        transport.abort()
        return
    await serve_http(state, secure, bytes(gate.data), origin, options)
