"""The routes of a policy, as the gateway enforces them: frozen, checked strictly, read from JSON.

Secrets travel only in `AuthConfig`, whose `repr` never shows them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cached_property
from typing import Any, Final, TypeVar

from bb_jupyter.errors import ManifestError, did_you_mean
from bb_jupyter.policy.addresses import parse_resolve
from bb_jupyter.policy.denials import Denied
from bb_jupyter.policy.hosts import normalise_pattern
from bb_jupyter.policy.paths import canonical_path

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_T = TypeVar("_T")


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
    header: str = "Authorization"
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
        require(isinstance(auth.header, str) and bool(_TOKEN.match(auth.header)), f"{where}.header", "no header name")
        require(isinstance(auth.username, str) and ":" not in auth.username, f"{where}.username", "must hold no colon")
        return auth


@dataclass(frozen=True)
class RouteConfig:
    """One thing that a bottle may reach.

    Attributes:
        host: canonical name or ``*.suffix``.
        port: TCP port.
        scheme: ``https`` or ``http``.
        methods: allowed methods, upper case; empty allows all.
        paths: allowed path patterns (see `paths.path_matches`); empty allows all.
        auth: credential to inject, only over TLS.
        resolve: ``ADDR[:PORT]`` to dial instead of asking DNS.
        ca_pem: one more CA, in PEM, that this route's server may be certified by.
        inspect: look into requests although nothing else asks for it (git servers, so that git is refused).
    """

    host: str
    port: int = 443
    scheme: str = "https"
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    auth: AuthConfig | None = None
    resolve: str | None = None
    ca_pem: str | None = None
    inspect: bool = False

    @property
    def intercepted(self) -> bool:
        """Whether requests must be looked into; a route without such needs is tunnelled."""
        return bool(self.auth or self.methods or self.paths or self.inspect) or self.scheme == "http"

    @cached_property
    def label(self) -> str:
        """The route in one line, for audit events; holds no secret."""
        usual = self.port == (443 if self.scheme == "https" else 80)
        parts = [
            ("http://" if self.scheme == "http" else "") + self.host + ("" if usual else f":{self.port}"),
            ",".join(self.methods),
            " ".join(self.paths),
            f"auth={self.auth.scheme}" if self.auth else "",
        ]
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
        if values.get("auth") is not None:
            values["auth"] = AuthConfig.from_json(values["auth"], f"{where}.auth")
        values["methods"] = tuple(method.upper() for method in values["methods"])
        values["paths"] = tuple(_path_pattern(path, f"{where}.paths") for path in values["paths"])
        values.setdefault("port", 80 if values.get("scheme") == "http" else 443)
        route = cls(**values)
        route._validate(where)
        return route

    def _validate(self, where: str) -> None:
        require(self.scheme in ("https", "http"), f"{where}.scheme", "must be https or http")
        require(type(self.port) is int and 0 < self.port < 65536, f"{where}.port", "must be between 1 and 65535")
        require(all(_TOKEN.match(m) for m in self.methods), f"{where}.methods", "holds something that is no method")
        require(not {"CONNECT", "TRACE"} & {*self.methods}, f"{where}.methods", "CONNECT and TRACE are never allowed")
        require(not (self.auth and self.scheme == "http"), f"{where}.auth", "a credential goes over https only")
        require(isinstance(self.inspect, bool), f"{where}.inspect", "must be true or false")
        require(self.ca_pem is None or isinstance(self.ca_pem, str), f"{where}.ca_pem", "must be PEM text")
        if self.resolve is not None:
            try:
                parse_resolve(self.resolve)
            except (ValueError, AttributeError, TypeError):
                raise ManifestError("must be ADDR[:PORT]", key=f"{where}.resolve") from None


def _path_pattern(raw: str, where: str) -> str:
    """Bring a pattern into the form of the canonical paths that it is compared with."""
    pattern = canonical_path(raw)
    if pattern is None:
        raise ManifestError("must begin with / and hold no empty, dot or encoded-slash segment", key=where)
    return pattern


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
