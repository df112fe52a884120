"""The first bytes of a TLS client, made here and said by a bottle that need not know TLS."""

from __future__ import annotations

import ssl


def client_hello(server_name: str | None) -> bytes:
    """Return the record with which a client asks for *server_name*; `None` asks for no name (RFC 8446, 4.1.2)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # no handshake comes of it
    said = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), said, server_hostname=server_name).do_handshake()
    except ssl.SSLWantReadError:
        return said.read()
    raise RuntimeError("a handshake needs an answer")
