"""Connections to servers: a name is resolved once, its addresses are checked, certificates are always verified."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Collection, Sequence
from ipaddress import ip_address
from typing import Final

import aiohttp
from aiohappyeyeballs import start_connection
from aiohttp.abc import AbstractResolver, ResolveResult

from bb_jupyter.gateway.control.gateway_config import GatewayLimits
from bb_jupyter.policy import Denied
from bb_jupyter.policy.addresses import is_own, is_public, parse_resolve
from bb_jupyter.policy.routes import RouteConfig

_IN_WORDS: Final[dict[type[BaseException], str]] = {
    aiohttp.ServerDisconnectedError: "it closed the connection",
    aiohttp.ClientResponseError: "its answer is not HTTP",
    aiohttp.ClientPayloadError: "its answer ended early",
}


class UpstreamFailed(Exception):
    """An allowed host cannot be reached or trusted; the client gets 502 and this one-line message."""


_Address = tuple[socket.AddressFamily, str, int]


async def _lookup(host: str, port: int, limit: float) -> Sequence[_Address]:
    """Ask the system's resolver once."""
    try:
        async with asyncio.timeout(limit):
            loop = asyncio.get_running_loop()
            infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except TimeoutError:
        raise UpstreamFailed(f"{host}: the name was not resolved within {limit:g} s") from None
    except (OSError, UnicodeError) as error:
        raise UpstreamFailed(f"{host}: the name does not resolve ({getattr(error, 'strerror', '')})") from None
    return [(family, str(where[0]), port) for family, _, _, _, where in infos]


async def resolve(
    host: str, port: int, override: str, *, limit: float = 10.0, own: Collection[str] = ()
) -> Sequence[_Address]:
    """Return the addresses to dial for a canonical host name.

    Args:
        host: canonical name that policy has allowed.
        port: port that policy has allowed.
        override: the route's ``resolve``, which is dialled unchecked; empty asks DNS.
        limit: seconds to wait for DNS.
        own: more addresses to refuse as this machine's own.

    Returns:
        At least one ``(family, address, port)``.

    Raises:
        Denied: rule ``address``: one of the addresses is not on the public internet, or is this machine's own.
        UpstreamFailed: the name does not resolve.
    """
    if override:
        address, own_port = parse_resolve(override)
        return [(socket.AF_INET6 if address.version == 6 else socket.AF_INET, str(address), own_port or port)]
    found = await _lookup(host, port, limit)
    if not found:
        raise UpstreamFailed(f"{host}: the name has no address")
    for _, text, _ in found:
        if "%" in text or not is_public(at := ip_address(text)) or is_own(at) or str(at) in own:
            hint = "only a route with `resolve:` in a trusted manifest may name a private address"
            raise Denied("address", f"{host} resolves to {text}, which is private or this machine's own", hint=hint)
    return found


class _CheckedResolver(AbstractResolver):
    """Gives aiohttp the addresses that were checked; it dials exactly those."""

    def __init__(self, override: str, limit: float, own: Collection[str]) -> None:
        self._override, self._limit, self._own = override, limit, own

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await resolve(host, port, self._override, limit=self._limit, own=self._own)
        return [
            ResolveResult(hostname=host, host=address, port=number, family=kind, proto=socket.IPPROTO_TCP, flags=0)
            for kind, address, number in found
        ]

    async def close(self) -> None:
        """Hold nothing."""


class Upstreams:
    """Keeps one connection pool for each way of dialling: plain DNS, or a route's own address and CA.

    Args:
        trust_pem: the host's CA bundle; empty uses the system's.
        limits: times and sizes.
        own: addresses that nobody may dial without a route's `resolve`.
    """

    def __init__(self, trust_pem: str, limits: GatewayLimits, own: Collection[str] = ()) -> None:
        self._trust_pem, self._limits, self._own = trust_pem, limits, frozenset(own)
        self._sessions: dict[tuple[str, str | None, bool], aiohttp.ClientSession] = {}
        # aiohttp's ws_connect always follows redirects, which would leave the judged host.
        self._no_redirects = aiohttp.TraceConfig()
        self._no_redirects.on_request_redirect.append(_refuse_redirect)

    def _context(self, ca_pem: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self._trust_pem or None)
        if ca_pem:
            context.load_verify_locations(cadata=ca_pem)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def check(self, routes: tuple[RouteConfig, ...]) -> None:
        """Read the CA bundles that *routes* bring, before they are relied on.

        Raises:
            ValueError: one cannot be read.
        """
        for pem in {route.ca_pem for route in routes if route.ca_pem}:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
            except ssl.SSLError:
                raise ValueError("a route's `ca` is not a CA certificate in PEM") from None

    def session(self, route: RouteConfig, *, websocket: bool = False) -> aiohttp.ClientSession:
        """Return the session that dials and verifies connections of *route*; it follows no redirect.

        Args:
            route: the route.
            websocket: one for `ws_connect`; watching for redirects costs other requests a tenth of their time.
        """
        key = (route.resolve, route.ca_pem, websocket)
        if key not in self._sessions:
            self._sessions[key] = aiohttp.ClientSession(
                connector=self.session(route).connector if websocket else self._connector(route),
                connector_owner=not websocket,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                trace_configs=[self._no_redirects] if websocket else None,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._limits.connect),
                max_line_size=self._limits.header,
                max_field_size=self._limits.header,
            )
        return self._sessions[key]

    def _connector(self, route: RouteConfig) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(
            resolver=_CheckedResolver(route.resolve, self._limits.connect, self._own),
            ssl=self._context(route.ca_pem),
            use_dns_cache=False,
            limit=0,
            keepalive_timeout=10,
        )

    async def dial(self, route: RouteConfig, host: str, port: int) -> socket.socket:
        """Connect to a host for a tunnel.

        Returns:
            A connected, non-blocking socket.

        Raises:
            Denied: the name resolves to an address that is not public.
            UpstreamFailed: it cannot be reached.
        """
        found = await resolve(host, port, route.resolve, limit=self._limits.connect, own=self._own)
        infos = [
            (
                family,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (address, number, *((0, 0) * (family == socket.AF_INET6))),
            )
            for family, address, number in found
        ]
        try:
            async with asyncio.timeout(self._limits.connect):
                return await start_connection(infos, happy_eyeballs_delay=0.25)
        except OSError as error:
            raise UpstreamFailed(f"{host}:{port} cannot be reached ({describe(error)})") from None

    async def close(self) -> None:
        """Close every pool."""
        for session in self._sessions.values():
            await session.close()


async def _refuse_redirect(*_: object) -> None:
    raise UpstreamFailed("the server redirects a request that cannot be redirected")


def describe(error: BaseException) -> str:
    """Say in a few words what went wrong with a server; never the message of an arbitrary exception."""
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {inner.verify_message}"
    if isinstance(inner, ssl.SSLError):
        return f"TLS failed: {(inner.reason or 'error').replace('_', ' ').lower()}"
    if isinstance(inner, TimeoutError):
        return "it took too long"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror.lower() if not inner.strerror.startswith("Connect call") else "connection refused"
    return _IN_WORDS.get(type(inner), type(inner).__name__)
