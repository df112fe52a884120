"""WebSockets on intercepted routes: copied message by message, so that each can be masked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
from aiohttp import WSMsgType, web

from bb_jupyter.gateway.proxy.flows import Flow
from bb_jupyter.gateway.proxy.headers import to_upstream
from bb_jupyter.gateway.proxy.proxy_state import Origin, ProxyState
from bb_jupyter.gateway.proxy.redact import Masker
from bb_jupyter.policy.routes import RouteConfig

_Socket = aiohttp.ClientWebSocketResponse | web.WebSocketResponse


async def bridge(
    state: ProxyState, request: web.BaseRequest, route: RouteConfig, origin: Origin, target: str, flow: Flow
) -> web.StreamResponse:
    """Connect the client's WebSocket with the server's.

    Raises:
        aiohttp.ClientError: the server cannot be reached.
    """
    offered = [
        item.strip() for value in request.headers.getall("Sec-WebSocket-Protocol", ()) for item in value.split(",")
    ]
    limit = state.limits.websocket
    try:
        server = await state.upstreams.session(route, websocket=True).ws_connect(
            origin.url(target),
            protocols=offered,
            headers=to_upstream(request.headers, route, masked=False, websocket=True),
            max_msg_size=limit,
        )
    except aiohttp.WSServerHandshakeError as error:
        flow.status = error.status
        # The library discards the body of a refusal; the client gets its status.
        return web.Response(status=error.status if error.status >= 300 else 502, text="the server refused\n")
    async with server:
        flow.status = 101
        protocols = [server.protocol] if server.protocol else []
        client = web.WebSocketResponse(protocols=protocols, max_msg_size=limit)
        await client.prepare(request)
        await _both_ways(client, server, state.masker_for(origin.host), flow)
    return client


async def _both_ways(
    client: web.WebSocketResponse, server: aiohttp.ClientWebSocketResponse, masker: Masker | None, flow: Flow
) -> None:
    """Copy until either side closes, then close the other with the same code."""
    up = asyncio.create_task(_copy(client, server, None, flow.sent))
    down = asyncio.create_task(_copy(server, client, masker, flow.received))
    try:
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.gather(up, down, return_exceptions=True)
        await server.close(code=_code(client))
        await client.close(code=_code(server))


def _code(socket: _Socket) -> int:
    """Return a close code that may be sent on (RFC 6455, 7.4.1: 1005, 1006 and 1015 may not)."""
    code = socket.close_code
    return code if code is not None and code not in (1005, 1006, 1015) else 1000


async def _copy(source: _Socket, target: _Socket, masker: Masker | None, count: Callable[[int], None]) -> None:
    async for message in source:
        data = message.data
        if message.type is WSMsgType.TEXT:
            count(len(data))
            await target.send_str(masker.mask_text(data) if masker else data)
        elif message.type is WSMsgType.BINARY:
            count(len(data))
            await target.send_bytes(masker.mask(data) if masker else data)
