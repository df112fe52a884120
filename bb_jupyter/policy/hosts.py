"""Host names: brought into one canonical form, or refused, before policy is matched against them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from bb_jupyter.policy import Denied

_LABEL: Final = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_NUMERIC: Final = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")
_AUTHORITY: Final = re.compile(r"(?P<host>[^:@/?#\s\[\]]+)(?::(?P<port>[0-9]{1,5}))?\Z")
_IPV6: Final = re.compile(r"\[?[0-9a-f:.%]*:[0-9a-f:.%]*:[^@/]*\Z", re.IGNORECASE)
# `*.co.uk` is as wide as `*.com`: registries, not owners, hold these second levels (publicsuffix.org, ICANN section).
_REGISTRY: Final = re.compile(r"(?:ac|co|com|edu|gov|net|org)\.[a-z]{2}\Z")
_METADATA_NAMES: Final = frozenset(
    {"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"}
)


def normalise_host(raw: str) -> str:
    """Return the one spelling of a host name that policy is matched against.

    It is lower case and has no trailing dot.  Names outside ASCII must come in valid punycode (``xn--``), as every
    client sends them; see `ascii_host`.  URL parsers take a name whose last label is a decimal, octal or hexadecimal
    number for an IPv4 address (WHATWG URL, section 3.5, "ends in a number"); such names are refused, as IPv6 literals
    are.

    Args:
        raw: the name as a client sent it, or as a route declares it.

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
    name = ".".join(labels)
    if "xn--" in name and ascii_host(name) != name:
        raise Denied("host-invalid", "the host name is not canonical punycode")
    return name


@lru_cache(maxsize=256)  # every request of a connection names its host again
def ascii_host(name: str) -> str:
    """Return a host name that a person wrote, or one with punycode in it, in ASCII (UTS 46, IDNA 2008).

    Args:
        name: the name; ASCII without punycode is returned as it is.

    Raises:
        Denied: rule ``host-invalid``: it is no such name.
    """
    if name.isascii() and "xn--" not in name.lower():
        return name
    import idna

    try:
        return idna.encode(name, uts46=True, std3_rules=True).decode("ascii")
    except UnicodeError:
        raise Denied("host-invalid", "the host name is not a valid international name (IDNA)") from None


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
        Denied: rule ``ip-literal`` or ``host-invalid`` as for `normalise_host`; rule ``wildcard``: it covers all that a
            registry holds; rule ``metadata``: it is a cloud's metadata service.
    """
    wild = raw.startswith("*")
    if wild and raw[1:2] not in ("", "."):
        raise Denied("host-invalid", "a wildcard stands for whole labels at the beginning, as in *.example.com")
    name = "" if raw in ("*", "*.") else normalise_host(raw[2:] if wild else raw)
    if wild and ("." not in name or _REGISTRY.match(name)):
        raise Denied("wildcard", "a wildcard must not cover a whole registry", hint="name the domain: *.example.com")
    if name in _METADATA_NAMES:
        raise Denied("metadata", "a cloud's metadata service is never reachable")
    return f"*.{name}" if wild else name


def specificity(pattern: str, host: str) -> int:
    """Return how closely a canonical pattern names a canonical host: 0 not at all, an exact name highest."""
    if pattern == host:
        return 1 + len(host)
    if pattern.startswith("*.") and host.endswith(pattern[1:]) and len(host) > len(pattern) - 1:
        return len(pattern) - 1
    return 0
