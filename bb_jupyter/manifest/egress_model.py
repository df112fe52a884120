"""Egress: the hosts that a bottle may reach, and the credentials that the gateway adds on the way."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from bb_jupyter.errors import UsageError
from bb_jupyter.manifest.strict_model import HostPath, Line, StrictModel, TokenRef
from bb_jupyter.policy import Denied
from bb_jupyter.policy.addresses import parse_resolve
from bb_jupyter.policy.hosts import ascii_host, normalise_pattern
from bb_jupyter.policy.paths import canonical_path_pattern
from bb_jupyter.policy.routes import check_auth, check_header, check_scheme, check_username, normalise_method
from bb_jupyter.text.visible import quoted

# Policy's reasons for refusing a host, as a manifest's author reads them: the message, and what to write instead.
_HOST_REFUSALS = {
    "ip-literal": ("is an address, not a name", "Give a name, and the address as resolve: ADDR"),
    "wildcard": ("is too wide", "Name the domain: *.example.com"),
    "metadata": ("is a cloud's metadata service: it is never reachable", ""),
}


def route_host(text: str) -> str:
    """Bring a route's host to the form that requests are compared with.

    Args:
        text: an exact host, or ``*.suffix`` for every host below (and not equal to) the suffix; other scripts than
            ASCII become punycode.

    Raises:
        ValueError: no route can have this host.  The second line of the message, if any, is what to write instead.
    """
    _refuse_url(text)
    star, name = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    try:
        return normalise_pattern(star + ascii_host(name))
    except Denied as denied:
        message, hint = _HOST_REFUSALS.get(denied.rule, ("is not a host name", ""))
        raise ValueError(f"{quoted(text)} {message}" + (f"\n{hint}" if hint else "")) from None


def _refuse_url(text: str) -> None:
    """Refuse what is more than a host, and suggest the host in it."""
    if text == "*":
        raise ValueError("'*' is too wide\nName each host, or a domain: *.example.com")
    if not re.search(r"[\s\x00-\x20\x7f-\x9f\\%?#]", text) and re.search(r"[/@]|^[^:\[\]]+:\d*$", text):
        raise ValueError(f"{quoted(text)} is more than a host" + _suggestion(text))


def _suggestion(text: str) -> str:
    """Find the host and the port in a URL, as the second line of a message; empty when there is none."""
    if "@" in text:
        return ""
    try:
        url = urlsplit(text if "//" in text else f"//{text}")
        host, port = route_host(url.hostname or ""), url.port
    except ValueError:
        return ""
    scheme = ", scheme: http" if url.scheme == "http" else ""
    return f"\nWrite host: {host}{f', port: {port}' if port else ''}{scheme}"


def _quoting(check: Callable[[str], object]) -> AfterValidator:
    """Make a validator that keeps a text as written; it quotes the text before the message with which *check* fails."""

    def validate(text: str) -> str:
        try:
            check(text)
        except ValueError as error:
            raise ValueError(f"{quoted(text)} {error}") from None
        return text

    return AfterValidator(validate)


def _method(text: str) -> str:
    try:
        return normalise_method(text)
    except ValueError as error:
        raise ValueError(f"{quoted(text)} {error}") from None


def _username(text: str) -> str:
    check_username(text)
    return text


def _resolve(text: str) -> str:
    try:
        address, port = parse_resolve(text)
    except ValueError as error:
        raise ValueError(f"{quoted(text)} {error}") from None
    host = f"[{address}]" if address.version == 6 else str(address)
    return f"{host}:{port}" if port else str(address)


def _not_empty(items: tuple[str, ...]) -> tuple[str, ...]:
    if not items:
        raise ValueError("an empty list would allow nothing\nLeave the key out to allow all.")
    return items


Method = Annotated[str, AfterValidator(_method)]
PathPattern = Annotated[str, _quoting(canonical_path_pattern)]


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
    header: Annotated[str, _quoting(check_header)] | None = None
    username: Annotated[Line, AfterValidator(_username)] | None = None

    @model_validator(mode="after")
    def _fits_scheme(self) -> Auth:
        check_auth(self.scheme, self.header, self.username)
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

    host: Annotated[str, AfterValidator(route_host)]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    scheme: Literal["https", "http"] = "https"
    methods: Annotated[tuple[Method, ...], AfterValidator(_not_empty)] | None = None
    paths: Annotated[tuple[PathPattern, ...], AfterValidator(_not_empty)] | None = None
    auth: Auth | None = None
    resolve: Annotated[str, AfterValidator(_resolve)] | None = None
    ca: HostPath | None = None

    @model_validator(mode="after")
    def _fits_scheme(self) -> Route:
        check_scheme(self.scheme, auth=self.auth is not None, ca=self.ca is not None)
        return self

    @property
    def effective_port(self) -> int:
        """The port of requests: the declared one, or 443 (https) or 80 (http)."""
        return self.port or (443 if self.scheme == "https" else 80)


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
        return Route(host=route_host(host), port=int(port) if port else None)
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
