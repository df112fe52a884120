"""The egress service: an HTTP proxy for the bottle (RFC 9110, 7.6 and 9.3.6; RFC 9112, 3.2).

aiohttp's server parses the requests.  A request with an absolute URL is served directly.  After CONNECT the connection
is taken over: its TLS ClientHello must name the same host.  Then it is tunnelled; on an intercepted route, TLS
is ended here with the bottle's CA instead, and another aiohttp server handles the requests inside.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from yarl import URL

from bb_jupyter.gateway.proxy.client_hello import ALERT_UNRECOGNIZED_NAME, ClientHello, NotTls
from bb_jupyter.gateway.proxy.hijack import ClientHelloReader, HijackedResponse, release
from bb_jupyter.gateway.proxy.intercept import serve
from bb_jupyter.gateway.proxy.proxy_state import Origin, ProxyState
from bb_jupyter.gateway.proxy.tls_termination import serve_http, terminate
from bb_jupyter.gateway.proxy.tunnel import Tunnel
from bb_jupyter.gateway.proxy.upstream import UpstreamFailed
from bb_jupyter.policy import Denied
from bb_jupyter.policy.hosts import normalise_host, parse_authority
from bb_jupyter.policy.matcher import Policy
from bb_jupyter.policy.routes import RouteConfig

_ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_ABSOLUTE: Final = re.compile(r"http://(?P<authority>[^/?#]*)(?P<target>/.*)?\Z", re.IGNORECASE | re.DOTALL)
_NO_URL: Final = URL("/")


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """Make a request with only its `raw_path`: aiohttp would parse the URL as well, and hangs at some (`xn--a`)."""
    message = message._replace(url=_NO_URL)
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())


def _server_options(state: ProxyState) -> dict[str, Any]:
    """Return the options of every aiohttp server in this gateway: limits, no decoding, no access log."""
    return {
        "max_line_size": state.limits.header,
        "max_field_size": state.limits.header,
        "max_headers": 100,
        "auto_decompress": False,
        "access_log": None,
        "logger": logging.getLogger("bb_jupyter.gateway.http"),
        "keepalive_timeout": min(75.0, state.limits.idle),
        "lingering_time": 5.0,
        "handler_cancellation": True,
        "request_factory": _request,
    }


class EgressProxy:
    """Handles the connections of the port ``egress``.

    Args:
        state: the proxy's.
    """

    def __init__(self, state: ProxyState) -> None:
        self._state = state
        self._options = _server_options(state)
        self.server = web.Server(self._front, **self._options)

    async def _front(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer what comes first on a connection: CONNECT, or a request with an absolute URL."""
        if request.method == "CONNECT":
            return await self._connect(request)
        try:
            origin, target = self._absolute(request.raw_path)
        except Denied as denied:
            return self._state.refuse(denied, method=request.method)
        return await serve(self._state, request, origin, target)

    @staticmethod
    def _absolute(url: str) -> tuple[Origin, str]:
        """Split an absolute-form target into where it leads and the origin-form target."""
        parts = _ABSOLUTE.match(url)
        if parts is None:
            hint = "use it as http_proxy and https_proxy"
            raise Denied("request-form", "this is a proxy: it takes CONNECT and http:// URLs", hint=hint, status=400)
        host, port = parse_authority(parts["authority"], 80)
        return Origin("http", host, port), parts["target"] or "/"

    async def _connect(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer CONNECT; on success, return when the connection is over."""
        state = self._state
        facts: dict[str, object] = {"method": "CONNECT"}
        await state.events.ready()
        try:
            host, port = parse_authority(request.raw_path, None)
            facts |= {"host": host, "port": port}
            # Node's own client names the proxy here.
            if parse_authority(request.headers.get("Host", host), port)[0] not in (host, "egress"):
                raise Denied("host-mismatch", f"the Host header does not name {host}, as CONNECT does")
            routes = state.policy.connect(host, port)
            origin = Origin(routes[0].scheme, host, port)
            tunnelled = not any(route.intercepted for route in routes)
            server = await state.upstreams.dial(routes[0], host, port) if tunnelled else None
        except Denied as denied:
            return _closing(state.refuse(denied, **facts))
        except UpstreamFailed as failure:
            return _closing(state.failed(str(failure), **facts))
        try:
            return await self._take_over(request, origin, routes[0], server)
        finally:
            if server is not None:
                server.close()

    async def _take_over(
        self, request: web.BaseRequest, origin: Origin, route: RouteConfig, server: socket.socket | None
    ) -> HijackedResponse:
        """Accept a CONNECT and serve the connection to its end."""
        first = ClientHelloReader()
        transport = cast("asyncio.Transport", request.transport)
        if transport is None:
            return HijackedResponse()
        request.protocol.set_parser(first)  # type: ignore[arg-type]
        transport.write(_ESTABLISHED)
        hello = None
        if origin.scheme == "https":
            try:
                hello = self._checked(await first.hello(self._state.limits.connect), origin)
            except (NotTls, Denied) as error:
                return self._hang_up(transport, error, origin)
        transport.pause_reading()
        try:
            if hello is None:
                await serve_http(self._state, transport, first.taken(), origin, self._options)
            elif server is None or hello.encrypted:
                await terminate(self._state, transport, first.taken(), origin, self._options)
            else:
                await self._tunnel(transport, server, first.taken(), origin, route)
        finally:
            transport.abort()
        return release(request)

    @staticmethod
    def _checked(hello: ClientHello, origin: Origin) -> ClientHello:
        """Return a hello that names the host of CONNECT."""
        if not hello.server_name:
            raise Denied("sni-missing", f"TLS must name its host, and this hello names none (CONNECT: {origin.host})")
        if normalise_host(hello.server_name) != origin.host:
            raise Denied("sni-mismatch", f"TLS names another host than CONNECT, which names {origin.host}")
        return hello

    def _hang_up(self, transport: asyncio.Transport, error: NotTls | Denied, origin: Origin) -> HijackedResponse:
        """Report why a connection ends after CONNECT was answered; a TLS client gets an alert."""
        rule, reason = ("not-tls", str(error)) if isinstance(error, NotTls) else (error.rule, error.message)
        self._state.events.emit("egress", verdict="denied", rule=rule, reason=reason, **origin.facts())
        if isinstance(error, Denied):
            transport.write(ALERT_UNRECOGNIZED_NAME)
        transport.close()
        return HijackedResponse()

    async def _tunnel(
        self, transport: asyncio.Transport, server: socket.socket, first: bytes, origin: Origin, route: RouteConfig
    ) -> None:
        """Tunnel, as a flow that a later policy can end."""

        def allowed(policy: Policy) -> bool:
            routes = policy.candidates(origin.host, origin.port, "https")
            same = bool(routes) and (routes[0].resolve, routes[0].ca_pem) == (route.resolve, route.ca_pem)
            return same and not any(other.intercepted for other in routes)

        if not allowed(self._state.policy):
            self._hang_up(transport, Denied("policy-changed", "the policy changed before TLS began"), origin)
            return
        tunnel = Tunnel(transport, server.dup())
        facts = origin.facts()
        with self._state.flows.open(allowed, tunnel.abort, **facts, mode="tunnel", rule=route.label) as flow:
            await tunnel.run(first, flow)


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    return response
