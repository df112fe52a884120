"""Git gate: the repositories that a bottle may fetch from and, after a human looked, push to."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from bb_jupyter.manifest.egress_model import route_host
from bb_jupyter.manifest.limits import Size
from bb_jupyter.manifest.strict_model import HostPath, Line, StrictModel, TokenRef, absolute
from bb_jupyter.policy.addresses import is_address, parse_resolve
from bb_jupyter.text.visible import quoted

_URL = re.compile(r"(?P<scheme>https|ssh|file)://(?P<rest>.+)", re.ASCII | re.IGNORECASE)
_SCP = re.compile(r"(?:(?P<user>[^@:/\s]+)@)?(?P<host>[^@:/\s\[\]]+):(?P<path>[^:-].*)")
_PLACE = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>\d{1,5}))?", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_HOST_KEY = re.compile(r"(sk-)?(ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}( .*)?", re.ASCII)
_LOCAL = ("/", "./", "../", "~/")


def _person(text: str) -> str:
    if re.search("[<>]", text):
        raise ValueError(f"{quoted(text)}: git allows no '<' or '>' here")
    return text


def _alias(text: str) -> str:
    if not _ALIAS.fullmatch(text) or ".." in text or text.endswith((".", ".git", ".lock")):
        raise ValueError(f"{quoted(text)} cannot be a repository's alias\nUse letters, digits, '.', '_' and '-'.")
    return text


def _upstream(text: str, info: ValidationInfo) -> str:
    """Allow exactly three transports; anything else could be a command of git (``ext::``) or an option."""
    if text.startswith(_LOCAL):
        return absolute(text, info)
    match = _URL.fullmatch(text)
    if match:
        scheme, (authority, slash, path) = match["scheme"].lower(), match["rest"].partition("/")
        if scheme == "file" and not authority and path:
            return f"/{path}"
        if scheme != "file" and slash and path:
            _check_authority(scheme, authority)
            return f"{scheme}://{authority}/{path}"
    elif "::" not in text and "//" not in text and (match := _SCP.fullmatch(text)):
        _check_authority("ssh", text[: match.start("path") - 1])
        return text
    raise ValueError("is not a repository's URL\nWrite ssh://git@HOST/PATH, git@HOST:PATH, https://HOST/PATH or /PATH")


def _check_authority(scheme: str, authority: str) -> None:
    user, at, place = authority.rpartition("@")
    if at and (scheme == "https" or ":" in user):
        raise ValueError("holds a user or password\nUse username and token_ref (https), or identity (ssh).")
    if at and not _USER.fullmatch(user):
        raise ValueError(f"{quoted(user)} is not a user name")
    match = _PLACE.fullmatch(place)
    if not match or (match["port"] and not 1 <= int(match["port"]) <= 65535):
        raise ValueError(f"{quoted(place)} is not a host, or a host and a port from 1 to 65535")
    if is_address(match["host"]):  # unlike a route, a repository may be at an address
        try:
            parse_resolve(match["host"])
        except ValueError as error:
            raise ValueError(f"{quoted(match['host'])} {error}") from None
    elif route_host(match["host"]).startswith("*."):
        raise ValueError(f"{quoted(place)} is not one host")


def _host_key(text: str) -> str:
    if not _HOST_KEY.fullmatch(text):
        raise ValueError("is not a public host key\nWrite it as ssh-keyscan does, without the host: ssh-ed25519 AAAA…")
    return text


class GitUser(StrictModel):
    """Whom the commits of a bottle name as author and committer."""

    name: Annotated[Line, AfterValidator(_person)]
    email: Annotated[Line, AfterValidator(_person)]


class GitRepo(StrictModel):
    """One upstream repository; its credentials stay in the gateway.

    Attributes:
        url: ``ssh://``, ``git@host:path``, ``https://`` or a path of the host (made absolute).
        identity: private key file of the host, for ssh.
        host_key: the only key that the ssh server may present, as ``type base64``.
        username: user name beside the token, for https.
        token_ref: environment variable or file in ``secrets/`` with the token, for https.
        ca: file with the CA of a forge that has its own, for https.
        protected: refs that no push may change, such as ``main`` or ``release/*``.
        allow_force: pushes may rewrite history.
        allow_delete: pushes may delete refs.
        max_push: bytes that one push may bring; ``None`` is the gate's default.
    """

    url: Annotated[Line, AfterValidator(_upstream)]
    identity: HostPath | None = None
    host_key: Annotated[Line, AfterValidator(_host_key)] | None = None
    username: Line | None = None
    token_ref: TokenRef | None = None
    ca: HostPath | None = None
    protected: tuple[Line, ...] = ()
    allow_force: bool = False
    allow_delete: bool = False
    max_push: Size | None = None

    @model_validator(mode="after")
    def _fits_transport(self) -> GitRepo:
        if (self.identity or self.host_key) and self.transport != "ssh":
            raise ValueError(f"identity and host_key are for ssh, and the URL is {self.transport}")
        if (self.username or self.token_ref or self.ca) and self.transport != "https":
            raise ValueError(f"username, token_ref and ca are for https, and the URL is {self.transport}")
        return self

    @property
    def transport(self) -> str:
        """``ssh``, ``https`` or ``local``."""
        if self.url.startswith("/"):
            return "local"
        return "https" if self.url.startswith("https://") else "ssh"


class GitGate(StrictModel):
    """The user that a bottle commits as, and the repositories it may use, by alias."""

    user: GitUser | None = None
    repos: dict[Annotated[str, AfterValidator(_alias)], GitRepo] = Field(default_factory=dict)
