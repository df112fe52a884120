"""Which header fields cross the gateway, in both directions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from multidict import CIMultiDict, CIMultiDictProxy

from bb_jupyter.gateway.config import RouteConfig
from bb_jupyter.gateway.redact import Masker

# RFC 9110, 7.6.1, and the fields that belong to the connection with this proxy.
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# What clients commonly carry credentials in: on a route with `auth`, only the gateway's credential travels, so that an
# agent cannot use the allowed host with somebody else's account either.
_CREDENTIALS: Final = frozenset(
    {
        "api-key",
        "apikey",
        "authorization",
        "cookie",
        "deploy-token",
        "job-token",
        "private-token",
        "x-access-token",
        "x-amz-security-token",
        "x-api-key",
        "x-auth-key",
        "x-auth-token",
        "x-gitlab-token",
        "x-goog-api-key",
        "x-token",
        "x-vault-token",
    }
)
_WEBSOCKET: Final = "sec-websocket-"


def _end_to_end(headers: CIMultiDictProxy[str], drop: Iterable[str]) -> CIMultiDict[str]:
    """Copy headers without hop-by-hop fields, those that `Connection` names, and *drop*."""
    named = {item.strip().lower() for value in headers.getall("Connection", ()) for item in value.split(",")}
    out = _HOP_BY_HOP | named | {*drop}
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in out)


def to_upstream(headers: CIMultiDictProxy[str], route: RouteConfig, *, websocket: bool = False) -> CIMultiDict[str]:
    """Return what is sent to the server: without what concerns this hop, with the route's credential.

    Args:
        headers: what the client sent.
        route: the route that allowed the request.
        websocket: leave out what the WebSocket library sets itself.
    """
    kept = _end_to_end(headers, ("host",))
    if websocket:
        kept = CIMultiDict((name, value) for name, value in kept.items() if not name.lower().startswith(_WEBSOCKET))
    if route.auth is None:
        return kept
    # Range answers would let a reflected credential be read in pieces too short to be recognised.
    own = {*_CREDENTIALS, route.auth.header.lower(), "accept-encoding", "range", "if-range"}
    kept = CIMultiDict((name, value) for name, value in kept.items() if name.lower() not in own)
    kept["Accept-Encoding"] = "identity"
    kept[route.auth.header] = route.auth.value()
    return kept


def to_client(headers: CIMultiDictProxy[str], masker: Masker | None, *, drop: Iterable[str] = ()) -> CIMultiDict[str]:
    """Return what is sent back to the client, masked where the route has a credential."""
    kept = _end_to_end(headers, drop)
    joined = "\n".join(part for item in kept.items() for part in item)
    if masker is None or not masker.finds(joined.encode("utf-8", "surrogateescape")):
        return kept
    return CIMultiDict((masker.mask_text(name), masker.mask_text(value)) for name, value in kept.items())
