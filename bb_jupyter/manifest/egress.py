"""Egress: the hosts that a bottle may reach, and the credentials that the gateway adds on the way."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from bb_jupyter.errors import UsageError
from bb_jupyter.manifest.hosts import Address, normalise_host, split_address
from bb_jupyter.manifest.strict_model import HostPath, Line, StrictModel, TokenRef
from bb_jupyter.text.visible import quoted

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", re.ASCII)  # RFC 9110, section 5.6.2
# Headers that carry the message itself (RFC 9110, section 7.6.1): a credential there would break or smuggle requests.
_FRAMING = {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "keep-alive"}

# Escapes that servers read differently, or that are none; the gateway refuses requests with such paths.
_AMBIGUOUS = re.compile(r"%(?![0-9a-f]{2})|%(?:[01][0-9a-f]|2f|5c|25|7f)", re.IGNORECASE)


def _header(text: str) -> str:
    if not _TOKEN.fullmatch(text) or text.lower() in _FRAMING or text.lower().startswith("proxy-"):
        raise ValueError(f"{quoted(text)} cannot be the header of a credential")
    return text


def _username(text: str) -> str:
    if ":" in text:
        raise ValueError("a user name of basic authentication has no ':' (RFC 7617)")
    return text


def _method(text: str) -> str:
    if not _TOKEN.fullmatch(text) or text.upper() == "CONNECT":
        raise ValueError(f"{quoted(text)} is not a method of a route")
    return text.upper()


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{quoted(text)} must begin with '/'")
    if re.search(r"[\s\x00-\x20\x7f\\?#]", text) or not text.isascii():
        raise ValueError(f"{quoted(text)}: a path has no space, '\\', '?' or '#'; other scripts are percent-encoded")
    if "//" in text or _AMBIGUOUS.search(text):
        raise ValueError(
            f"{quoted(text)} can be read in more than one way: no '//', no escaped '/', '\\', '%' or control"
        )
    if {".", ".."} & {re.sub("%2e", ".", part, flags=re.IGNORECASE) for part in text.split("/")}:
        raise ValueError(f"{quoted(text)}: '.' and '..' are not allowed")
    return text


def _address(text: str) -> str:
    address, port = split_address(text)
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"{host}:{port}" if port else str(address)


def _not_empty(items: tuple[str, ...]) -> tuple[str, ...]:
    if not items:
        raise ValueError("an empty list would allow nothing\nLeave the key out to allow all.")
    return items


class Auth(StrictModel):
    """A credential that the gateway puts into requests; the bottle never holds it.

    Attributes:
        scheme: ``bearer`` and ``basic`` use the Authorization header (RFC 6750, RFC 7617), ``header`` one of its own.
        header: that header's name, for ``header`` only.
        username: the user name, for ``basic`` only; empty when the service wants none.
        token_ref: environment variable of the host, or file in the home's ``secrets/``, that holds the credential.
    """

    scheme: Literal["bearer", "basic", "header"]
    token_ref: TokenRef
    header: Annotated[str, AfterValidator(_header)] | None = None
    username: Annotated[Line, AfterValidator(_username)] | None = None

    @model_validator(mode="after")
    def _fits_scheme(self) -> Auth:
        if (self.scheme == "header") != (self.header is not None):
            wanted = "needs header: NAME" if self.header is None else "takes no header"
            raise ValueError(f"scheme '{self.scheme}' {wanted}")
        if self.username is not None and self.scheme != "basic":
            raise ValueError(f"scheme '{self.scheme}' takes no username")
        return self


class Route(StrictModel):
    """One host that a bottle may reach, and what it may do there.

    Attributes:
        host: normalised; exact, or ``*.suffix`` for hosts below the suffix but not the suffix itself.
        port: ``None`` stands for the scheme's own, see `effective_port`.
        scheme: ``http`` has no encryption, so it has to be asked for and never carries a credential.
        methods: upper case; ``None`` allows all.
        paths: each begins with ``/``. Without ``*`` it is a prefix of whole segments (``/v1`` allows ``/v1/x``, not
            ``/v10``); with it a pattern for the whole path, where ``*`` stays within a segment and ``**`` does not.
            ``None`` allows all.
        auth: the credential to put in.
        resolve: ``ADDR[:PORT]`` that is dialled instead of asking DNS: the one way to a private address.
        ca: file with one more CA that is trusted for this route.
    """

    host: Annotated[str, AfterValidator(normalise_host)]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    scheme: Literal["https", "http"] = "https"
    methods: Annotated[tuple[Annotated[str, AfterValidator(_method)], ...], AfterValidator(_not_empty)] | None = None
    paths: Annotated[tuple[Annotated[str, AfterValidator(_path)], ...], AfterValidator(_not_empty)] | None = None
    auth: Auth | None = None
    resolve: Annotated[str, AfterValidator(_address)] | None = None
    ca: HostPath | None = None

    @model_validator(mode="after")
    def _fits_scheme(self) -> Route:
        if self.scheme == "http" and self.auth:
            raise ValueError("a credential is never sent over plain http\nLeave auth out, or use scheme: https.")
        if self.scheme == "http" and self.ca:
            raise ValueError("plain http has no use for ca")
        return self

    @property
    def effective_port(self) -> int:
        """The port of requests: the declared one, or 443 (https) or 80 (http)."""
        return self.port or (443 if self.scheme == "https" else 80)

    @property
    def intercepted(self) -> bool:
        """Whether the gateway has to look into requests; otherwise TLS is tunnelled untouched."""
        return bool(self.auth or self.methods or self.paths) or self.scheme == "http"

    @property
    def resolve_address(self) -> tuple[Address, int] | None:
        """The address and port to dial, when the manifest says so."""
        if self.resolve is None:
            return None
        address, port = split_address(self.resolve)
        return address, port or self.effective_port


def _nothing_is_empty(value: object) -> object:
    return () if value is None else value


def allowed_route(text: str) -> Route:
    """Read a host that the user allows by hand.

    Args:
        text: `HOST` or `HOST:PORT`; the host exact or `*.suffix`.

    Raises:
        UsageError: it is no host that a route may have.
    """
    host, colon, port = text.rpartition(":")
    if not colon or "://" in text:
        host, port = text, ""
    try:
        return Route(host=normalise_host(host), port=int(port) if port else None)
    except ValueError as error:
        message, _, hint = _reason(error).partition("\n")
        raise UsageError(f"cannot allow {quoted(text)}: {message}", hint=hint or "Write HOST or HOST:PORT.") from None


def _reason(error: ValueError) -> str:
    return "the port is between 1 and 65535" if isinstance(error, ValidationError) else str(error)


class Egress(StrictModel):
    """What a bottle may reach; no routes, however written, is no network."""

    routes: Annotated[tuple[Route, ...], BeforeValidator(_nothing_is_empty)] = ()

    def merged(self, over: Egress) -> Egress:
        """Return these routes, those of *over* replacing all with the same host; an empty *over* closes everything."""
        if not over.routes:
            return over
        hosts = {route.host for route in over.routes}
        return Egress(routes=(*(route for route in self.routes if route.host not in hosts), *over.routes))
