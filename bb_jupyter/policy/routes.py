"""The routes of a policy, as the gateway enforces them: frozen, checked strictly, read from JSON.

Secrets travel only in `AuthConfig`, whose `repr` never shows them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Final, TypeVar

from bb_jupyter.errors import ManifestError, did_you_mean
from bb_jupyter.policy import Denied
from bb_jupyter.policy.addresses import parse_resolve
from bb_jupyter.policy.hosts import normalise_pattern
from bb_jupyter.policy.paths import canonical_path_pattern

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z")  # RFC 9110, section 5.6.2
# Headers that carry the message itself (RFC 9110, section 7.6.1): a credential there would break or smuggle requests.
_FRAMING: Final = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "keep-alive"}
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_AUTHORIZATION: Final = "Authorization"
_T = TypeVar("_T")


def normalise_method(text: str) -> str:
    """Return a route's method in upper case.

    Raises:
        ValueError: no route can allow it; the message continues a sentence that begins with *text*.
    """
    method = text.upper()
    if not _TOKEN.match(text) or method in ("CONNECT", "TRACE"):
        raise ValueError("is not a method of a route")
    return method


def check_auth(scheme: str, header: str | None, username: str | None) -> None:
    """Refuse a credential whose parts do not fit together.

    Args:
        scheme: ``bearer``, ``basic`` or ``header``.
        header: the header that is to carry it; ``None`` for the scheme's own.
        username: the user name beside a password; ``None`` for none.

    Raises:
        ValueError: they do not.
    """
    if (scheme == "header") != (header is not None):
        raise ValueError(f"scheme '{scheme}' {'needs header: NAME' if header is None else 'takes no header'}")
    if username is not None and scheme != "basic":
        raise ValueError(f"scheme '{scheme}' takes no username")


def check_header(name: str) -> None:
    """Refuse a header that cannot carry a credential.

    Raises:
        ValueError: it cannot; the message continues a sentence that begins with *name*.
    """
    if not _TOKEN.match(name) or name.lower() in _FRAMING or name.lower().startswith("proxy-"):
        raise ValueError("cannot be the header of a credential")


def check_username(name: str) -> None:
    """Refuse a user name that basic authentication cannot carry (RFC 7617).

    Raises:
        ValueError: it holds a colon or a control character, or nothing but space.
    """
    if ":" in name or _CONTROL.search(name) or name.isspace():
        raise ValueError("a user name of basic authentication has no ':' (RFC 7617) and no control character")


def check_scheme(scheme: str, *, auth: bool, ca: bool) -> None:
    """Refuse a credential or a CA on a route without TLS.

    Raises:
        ValueError: *scheme* is ``http`` and the route has one of them.
    """
    if scheme == "http" and auth:
        raise ValueError("a credential is never sent over plain http\nLeave auth out, or use scheme: https.")
    if scheme == "http" and ca:
        raise ValueError("plain http has no use for ca")


def checked_object(kind: type[_T], data: object, where: str) -> dict[str, Any]:
    """Check that *data* is an object with no unknown and no missing key; return it as keyword arguments."""
    if not isinstance(data, Mapping):
        raise ManifestError("must be an object", key=where)
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise ManifestError("unknown key", key=f"{where}.{key!s:.40}", hint=did_you_mean(str(key), known))
    for f in fields(kind):  # type: ignore[arg-type]
        if f.name not in data and f.default is MISSING:
            raise ManifestError("is missing", key=f"{where}.{f.name}")
    return dict(data)


def require(condition: bool, where: str, message: str) -> None:
    """Raise a ManifestError with *message* at the key *where* unless *condition* holds."""
    if not condition:
        raise ManifestError(message, key=where)


def judged(check: Callable[[], _T], where: str) -> _T:
    """Return what *check* returns; raise its ValueError as a ManifestError at the key *where*."""
    try:
        return check()
    except ValueError as error:
        raise ManifestError(str(error).partition("\n")[0], key=where) from None


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """A credential that the gateway puts into requests of one route.

    Attributes:
        scheme: ``bearer``, ``basic`` or ``header``.
        token: the secret itself; the password for ``basic``.
        header: name of the header to set; ``Authorization`` unless the scheme is ``header``.
        username: user name, for ``basic``.
    """

    scheme: str
    token: str = field(repr=False)
    header: str = _AUTHORIZATION
    username: str = ""

    def value(self) -> str:
        """Return the value of the header that carries the credential."""
        if self.scheme == "basic":
            return "Basic " + base64.b64encode(f"{self.username}:{self.token}".encode()).decode()
        return f"Bearer {self.token}" if self.scheme == "bearer" else self.token

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may see again: the token, and how it travels where that is something else."""
        return (self.token, self.value().removeprefix("Basic ")) if self.scheme == "basic" else (self.token,)

    @classmethod
    def from_json(cls, data: object, where: str) -> AuthConfig:
        """Check and build one; raises ManifestError, which never quotes the token."""
        auth = cls(**checked_object(cls, data, where))
        require(auth.scheme in ("bearer", "basic", "header"), f"{where}.scheme", "must be bearer, basic or header")
        require(isinstance(auth.token, str) and bool(auth.token), f"{where}.token", "is empty")
        clean = all(" " <= c <= "~" for c in auth.token) if auth.scheme != "basic" else "\x00" not in auth.token
        require(clean, f"{where}.token", "holds a character that no header can carry (a line break?)")
        for key in ("header", "username"):
            require(isinstance(getattr(auth, key), str), f"{where}.{key}", "must be text")
        own = auth.scheme == "header" or auth.header != _AUTHORIZATION
        judged(lambda: check_header(auth.header), f"{where}.header")
        judged(lambda: check_username(auth.username), f"{where}.username")
        judged(lambda: check_auth(auth.scheme, auth.header if own else None, auth.username or None), where)
        return auth


@dataclass(frozen=True)
class RouteRule:
    """What one route covers, and where it leads.

    Attributes:
        host: canonical name or ``*.suffix``.
        port: TCP port.
        scheme: ``https`` or ``http``.
        methods: allowed methods, upper case; empty allows all.
        paths: allowed path patterns, as written; empty allows all.
        resolve: ``ADDR[:PORT]`` to dial instead of asking DNS; empty asks DNS.
        inspect: the gateway inspects requests although nothing else asks for it, so that git is refused.
    """

    host: str
    port: int = 443
    scheme: str = "https"
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    resolve: str = ""
    inspect: bool = False

    @property
    def url(self) -> str:
        """The host, with scheme and port where they are not https and its own."""
        usual = self.port == (443 if self.scheme == "https" else 80)
        return ("http://" if self.scheme == "http" else "") + self.host + ("" if usual else f":{self.port}")


@dataclass(frozen=True)
class RouteConfig(RouteRule):
    """A route as the gateway enforces it: the rule, with its credential and its CA.

    Attributes:
        auth: credential to inject, only over TLS.
        ca_pem: one more CA, in PEM, that this route's server may be certified by.
    """

    auth: AuthConfig | None = None
    ca_pem: str | None = None

    @cached_property
    def path_patterns(self) -> tuple[str, ...]:
        """The `paths` in canonical form, to be matched by `paths.path_matches`."""
        return tuple(map(canonical_path_pattern, self.paths))

    @property
    def intercepted(self) -> bool:
        """Whether the gateway must read requests; a route without such needs is tunnelled."""
        return bool(self.auth or self.methods or self.paths or self.inspect) or self.scheme == "http"

    @cached_property
    def label(self) -> str:
        """The route in one line, for audit events; holds no secret."""
        auth = f"auth={self.auth.scheme}" if self.auth else ""
        parts = (self.url, ",".join(self.methods), " ".join(self.paths), auth)
        return " ".join(part for part in parts if part)

    @classmethod
    def from_json(cls, data: object, where: str) -> RouteConfig:
        """Check and build one; raises ManifestError naming the key."""
        values = checked_object(cls, data, where)
        require(isinstance(values["host"], str), f"{where}.host", "must be a host name")
        try:
            values["host"] = normalise_pattern(values["host"])
        except Denied as denied:
            raise ManifestError(denied.message, key=f"{where}.host") from None
        for key in ("methods", "paths"):
            items = values.get(key) or ()
            require(isinstance(items, list | tuple), f"{where}.{key}", "must be a list of strings")
            require(all(isinstance(item, str) for item in items), f"{where}.{key}", "must be a list of strings")
            values[key] = tuple(items)
        methods = values["methods"]
        values["methods"] = judged(lambda: tuple(map(normalise_method, methods)), f"{where}.methods")
        values["resolve"] = values.get("resolve") or ""
        if values.get("auth") is not None:
            values["auth"] = AuthConfig.from_json(values["auth"], f"{where}.auth")
        values.setdefault("port", 80 if values.get("scheme") == "http" else 443)
        route = cls(**values)
        route._validate(where)
        return route

    def _validate(self, where: str) -> None:
        require(self.scheme in ("https", "http"), f"{where}.scheme", "must be https or http")
        require(type(self.port) is int and 0 < self.port < 65536, f"{where}.port", "must be between 1 and 65535")
        require(isinstance(self.inspect, bool), f"{where}.inspect", "must be true or false")
        require(self.ca_pem is None or isinstance(self.ca_pem, str), f"{where}.ca_pem", "must be PEM text")
        require(isinstance(self.resolve, str), f"{where}.resolve", "must be ADDR[:PORT]")
        judged(lambda: check_scheme(self.scheme, auth=bool(self.auth), ca=bool(self.ca_pem)), where)
        judged(lambda: self.path_patterns, f"{where}.paths")
        if self.resolve:
            judged(lambda: parse_resolve(self.resolve), f"{where}.resolve")


def routes_from_json(data: object) -> tuple[RouteConfig, ...]:
    """Check and build a whole policy's routes; ``null`` means none, which reaches nothing.

    Raises:
        ManifestError: what is wrong, at which key.
    """
    items = () if data is None else data
    if not isinstance(items, list | tuple):
        raise ManifestError("must be a list", key="routes")
    return tuple(RouteConfig.from_json(item, f"routes[{i}]") for i, item in enumerate(items))


def routes_to_json(routes: Iterable[RouteConfig]) -> list[dict[str, Any]]:
    """Return routes as the objects to send, **with the secrets**."""
    return [asdict(route) for route in routes]
