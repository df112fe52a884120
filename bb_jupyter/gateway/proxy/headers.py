"""Header fields: which ones cross the gateway in each direction, and which ones are refused."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain
from typing import Final
from urllib.parse import parse_qsl

from multidict import CIMultiDict, CIMultiDictProxy

from bb_jupyter.gateway.proxy.redact import Masker
from bb_jupyter.policy import Denied
from bb_jupyter.policy.routes import RouteConfig

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
# Fields in which clients commonly send credentials.  On a route with `auth` only the gateway's credential is sent, so
# that an agent cannot use the allowed host with another account.
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
# A client could read a reflected credential from range answers in pieces too short to be recognised.
_PARTIAL_ANSWER: Final = frozenset({"accept-charset", "accept-encoding", "if-range", "range", "request-range"})
# A session cookie is as good as the credential that it was given for.
_FROM_SERVER_WITH_AUTH: Final = _HOP_BY_HOP | {"set-cookie", "set-cookie2"}
# Some servers let these fields replace the method or the path of the request line.
_METHOD_OVERRIDES: Final = frozenset({"x-http-method", "x-http-method-override", "x-method-override"})
_METHOD_PARAMETER: Final = "_method"
_PATH_OVERRIDES: Final = frozenset({"x-original-uri", "x-original-url", "x-rewrite-url"})
# Fields that name a second path, the source or target of a copy (RFC 4918, 10.3; object stores).
_SECOND_PATHS: Final = frozenset(
    {
        "destination",
        "x-amz-copy-source",
        "x-copy-from",
        "x-goog-copy-source",
        "x-ms-copy-source",
        "x-ms-rename-source",
    }
)
# Forwarding headers: proxies set them and some servers route on them; a bottle is no proxy.
_FORWARDED: Final = frozenset(
    {
        "forwarded",
        "x-forwarded-host",
        "x-forwarded-path",
        "x-forwarded-prefix",
        "x-forwarded-server",
        "x-forwarded-uri",
        "x-host",
        "x-http-host-override",
        "x-original-host",
    }
)
_WEBSOCKET: Final = "sec-websocket-"


def _plain(name: str) -> str:
    """Return a field's name as servers compare it: some (CGI, WSGI) take an underscore for a hyphen."""
    return name.lower().replace("_", "-")


def refuse_overrides(headers: CIMultiDictProxy[str], query: str, route: RouteConfig) -> None:
    """Refuse fields and parameters that replace a limited route's method or path.

    Raises:
        Denied: rule ``method`` or ``path``.
    """
    for name, value in headers.items() if route.methods or route.paths else ():
        field = _plain(name)
        if route.methods and field in _METHOD_OVERRIDES:
            _check_method(field, value, route)
        if route.paths and field in _PATH_OVERRIDES:
            raise Denied("path", f"{field} asks for another path than the one that was judged")
        if route.paths and field in _SECOND_PATHS:
            raise Denied("path", f"{field} names a second path, which is not judged")
    for name, value in parse_qsl(query.replace(";", "&")) if query and route.methods else ():
        # PHP takes dots, blanks and brackets in a name for underscores.
        if re.sub("[^0-9A-Za-z]", "_", name.strip()).lower() == _METHOD_PARAMETER:
            _check_method(_METHOD_PARAMETER, value, route)


def _check_method(name: str, value: str, route: RouteConfig) -> None:
    if value.strip().upper() not in (route.methods or ()):
        raise Denied("method", f"{name} asks for a method that is not allowed on {route.host}")


def _end_to_end(headers: CIMultiDictProxy[str], drop: frozenset[str]) -> list[tuple[str, str]]:
    """Return the fields without those that `Connection` names, and without *drop*."""
    for value in headers.getall("Connection", ()):
        drop = drop.union(_plain(item.strip()) for item in value.split(","))
    return [item for item in headers.items() if _plain(item[0]) not in drop]


@lru_cache(maxsize=64)
def _kept_from_server(auth_header: str, *, masked: bool) -> frozenset[str]:
    drop = _HOP_BY_HOP | _FORWARDED | {"host"}
    if masked:
        drop |= _PARTIAL_ANSWER
    return drop | _CREDENTIALS | {_plain(auth_header)} if auth_header else drop


def to_upstream(
    headers: CIMultiDictProxy[str], route: RouteConfig, *, masked: bool, websocket: bool = False
) -> CIMultiDict[str]:
    """Return the fields for the server: without those of this hop, with the route's credential.

    Args:
        headers: what the client sent.
        route: the route that allowed the request.
        masked: the answer will be masked, so it must come whole and unencoded.
        websocket: leave out the fields that the WebSocket library sets itself.
    """
    drop = _kept_from_server(route.auth.header if route.auth else "", masked=masked)
    # Some servers take an underscore for a hyphen and would see a second length.
    kept = [item for item in _end_to_end(headers, drop) if item[0].lower() != "content_length"]
    if websocket:
        kept = [item for item in kept if not item[0].lower().startswith(_WEBSOCKET)]
    if masked:
        kept.append(("Accept-Encoding", "identity"))
    if route.auth:
        kept.append((route.auth.header, route.auth.value()))
    return CIMultiDict(kept)


def to_client(
    headers: CIMultiDictProxy[str], route: RouteConfig, masker: Masker | None, *, drop: tuple[str, ...] = ()
) -> CIMultiDict[str]:
    """Return the fields for the client: masked, and without cookies where the route has a credential."""
    kept = _end_to_end(headers, (_FROM_SERVER_WITH_AUTH if route.auth else _HOP_BY_HOP).union(drop))
    joined = "\n".join(chain.from_iterable(kept))
    if masker is not None and masker.finds(joined.encode("utf-8", "surrogateescape")):
        kept = [(masker.mask_text(name), masker.mask_text(value)) for name, value in kept]
    return CIMultiDict(kept)
