"""Host names: made canonical, or refused, before anything is matched against them."""

from __future__ import annotations

import re
from typing import Final

from bb_jupyter.policy.denials import Denied

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_NUMERIC: Final = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")
_AUTHORITY: Final = re.compile(r"(?P<host>[^:@/?#\s\[\]]+)(?::(?P<port>[0-9]{1,5}))?\Z")
_IPV6: Final = re.compile(r"\[?[0-9a-f:.%]*:[0-9a-f:.%]*:[^@/]*\Z", re.IGNORECASE)


def normalise_host(raw: str) -> str:
    """Return the one spelling of a host name that policy is matched against.

    Lower case, without one trailing dot.  Names outside ASCII must arrive in punycode (``xn--``), as every client
    sends them.  A last label that is a number makes the name an IPv4 address for URL parsers (WHATWG URL, section
    3.5, "ends in a number"), in decimal, octal or hexadecimal; so such names are refused together with IPv6 literals.

    Args:
        raw: what a client sent or a manifest says.

    Returns:
        The canonical name, at most 253 characters of ``a-z 0-9 - _ .``.

    Raises:
        Denied: rule ``ip-literal`` or ``host-invalid``.
    """
    host = raw[:-1] if raw.endswith(".") else raw
    if _IPV6.match(host):
        raise Denied("ip-literal", "IP addresses are never reachable", hint="use the service's name")
    if not host.isascii() or not 0 < len(host) <= 253:
        raise Denied("host-invalid", "the host name is empty, too long or not ASCII (write it in punycode)")
    labels = host.lower().split(".")
    if not all(_LABEL.match(label) for label in labels):
        raise Denied("host-invalid", "the host name holds a character or an empty label that no host name has")
    if _NUMERIC.match(labels[-1]):
        raise Denied("ip-literal", "IP addresses are never reachable", hint="use the service's name")
    return ".".join(labels)


def parse_authority(raw: str, default_port: int | None) -> tuple[str, int]:
    """Split ``host[:port]``, as in CONNECT, Host or an absolute URL, into a canonical host and a port.

    Args:
        raw: the authority as the client sent it.
        default_port: port when none is given; ``None`` makes it compulsory.

    Raises:
        Denied: rule ``ip-literal`` or ``host-invalid``.
    """
    if raw.startswith("[") or _IPV6.match(raw):
        raise Denied("ip-literal", "IP addresses are never reachable", hint="use the service's name")
    parts = _AUTHORITY.match(raw)
    if parts is None or (parts["port"] is None and default_port is None):
        raise Denied("host-invalid", "the target is not HOST:PORT")
    port = int(parts["port"]) if parts["port"] else int(default_port or 0)
    if not 0 < port < 65536:
        raise Denied("host-invalid", "the port is not between 1 and 65535")
    return normalise_host(parts["host"]), port


def normalise_pattern(raw: str) -> str:
    """Return a route's host pattern, exact or ``*.suffix``, in canonical form.

    Raises:
        Denied: it is not a host name, or ``*`` covers a whole top-level domain.
    """
    if not raw.startswith("*"):
        return normalise_host(raw)
    suffix = normalise_host(raw[2:]) if raw.startswith("*.") else ""
    if "." not in suffix:
        raise Denied("host-invalid", "a wildcard must leave at least two labels, as in *.example.com")
    return f"*.{suffix}"


def specificity(pattern: str, host: str) -> int:
    """Return how closely a canonical pattern names a canonical host: 0 not at all, an exact name highest."""
    if pattern == host:
        return 1 + len(host)
    if pattern.startswith("*.") and host.endswith(pattern[1:]) and len(host) > len(pattern) - 1:
        return len(pattern) - 1
    return 0
