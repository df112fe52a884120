"""Reads the server name in a TLS ClientHello, strictly (RFC 8446, 4.1.2; RFC 6066, 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_CLIENT_HELLO: Final = 16384
_MAX_RECORDS: Final = 16  # so that a hello in crumbs costs no more to read than a whole one
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _ECH = 22, 1, 0, 0xFE0D
# Alert record (RFC 8446, 6): fatal unrecognized_name, in plaintext as before any handshake.
ALERT_UNRECOGNIZED_NAME: Final = b"\x15\x03\x03\x00\x02\x02\x70"


class NotTls(ValueError):
    """The bytes are not a ClientHello that can be read in exactly one way."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client asks a server for.

    Attributes:
        server_name: the name as sent; empty when there is none.
        encrypted: an encrypted ClientHello is present (real or GREASE: nobody but the server can tell), so the name
            that counts may be another one.
    """

    server_name: str
    encrypted: bool


class _Reader:
    """Reads length-prefixed vectors and never past their end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise NotTls("a length points past the end")
        self._at += count
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Reader:
        return _Reader(self.take(self.number(size)))

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)


def read_client_hello(data: bytes) -> ClientHello | None:
    """Read the ClientHello at the start of a connection.

    Args:
        data: all bytes received so far.

    Returns:
        What it asks for, or ``None`` while more bytes are needed.

    Raises:
        NotTls: this is not, or will not become, a ClientHello of at most `MAX_CLIENT_HELLO` bytes.
    """
    message = _handshake(data)
    return None if message is None else _client_hello(_Reader(message))


def _handshake(data: bytes) -> bytes | None:
    """Join the first handshake message out of its records."""
    joined, at = b"", 0
    for _ in range(_MAX_RECORDS + 1):
        if data[at : at + 1] not in (b"", b"\x16") or data[at + 1 : at + 2] not in (b"", b"\x03"):
            raise NotTls("not a TLS handshake")
        if joined and joined[0] != _CLIENT_HELLO:
            raise NotTls("not a ClientHello")
        need = 4 + int.from_bytes(joined[1:4], "big") if len(joined) >= 4 else 4
        if need > MAX_CLIENT_HELLO:
            raise NotTls("the ClientHello is too large")
        if need > 4 and len(joined) >= need:
            if len(joined) > need:
                raise NotTls("something follows the ClientHello in its record")
            return joined[4:]
        if len(data) < at + 5:
            return None
        length = int.from_bytes(data[at + 3 : at + 5], "big")
        if not 0 < length <= 16384:
            raise NotTls("a record has no or too much content")
        if len(data) < at + 5 + length:
            return None
        joined += data[at + 5 : at + 5 + length]
        at += 5 + length
    raise NotTls("the ClientHello is in too many records")


def _client_hello(hello: _Reader) -> ClientHello:
    hello.take(2 + 32)
    hello.vector(1)
    hello.vector(2)
    hello.vector(1)
    if not hello:
        return ClientHello("", encrypted=False)
    extensions, found = hello.vector(2), {}
    if hello:
        raise NotTls("something follows the extensions")
    while extensions:
        kind, body = extensions.number(2), extensions.vector(2)
        if kind in found:
            raise NotTls("an extension occurs twice")
        found[kind] = body
    name = _server_name(found[_SERVER_NAME]) if _SERVER_NAME in found else ""
    return ClientHello(name, encrypted=_ECH in found)


def _server_name(body: _Reader) -> str:
    names = body.vector(2)
    kind, name = names.number(1), names.vector(2).rest()
    if kind != 0 or names or body or not name.isascii():
        raise NotTls("the server name is not exactly one ASCII host name")
    return name.decode("ascii")
