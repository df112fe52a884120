"""IP addresses: which belong to the public internet, and which a route's `resolve` may name."""

from __future__ import annotations

import contextlib
import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

# IANA IPv4 and IPv6 Special-Purpose Address Registries, written out because `ipaddress.is_global` differs between
# Python versions; plus Azure's metadata service, which lives on a public address.
_FORBIDDEN_V4: Final = tuple(
    IPv4Network(net)
    for net in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "168.63.129.16/32",
    )
)
# Global unicast is 2000::/3; within it Teredo and other 2001::/23 assignments, documentation and 6to4 are out.
# v4-mapped, NAT64 (64:ff9b::/96, 64:ff9b:1::/48), ULA, link-local, multicast and loopback lie outside 2000::/3.
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_FORBIDDEN_V6: Final = tuple(
    IPv6Network(net) for net in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
# Metadata services outside link-local: AWS over IPv6, Alibaba Cloud, Azure's wire server, Oracle's older address.
_METADATA: Final = frozenset({"fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"})
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052, the well-known prefix
_RESOLVE: Final = re.compile(
    r"(?:\[(?P<bracketed>[0-9a-f:.]+)\](?::(?P<port6>[0-9]{1,5}))?"
    r"|(?P<v4>[0-9]+(?:\.[0-9]+){3})(?::(?P<port4>[0-9]{1,5}))?"
    r"|(?P<v6>[0-9a-f:.]+))\Z",
    re.IGNORECASE,
)

Address = IPv4Address | IPv6Address


def is_public(address: Address) -> bool:
    """Say whether an address belongs to the public internet and to nothing that only this host can reach."""
    if isinstance(address, IPv4Address):
        return not any(address in net for net in _FORBIDDEN_V4)
    return address in _GLOBAL_V6 and not any(address in net for net in _FORBIDDEN_V6)


def is_own(address: Address) -> bool:
    """Say whether this machine has an address itself, a public one perhaps, at which its own services listen."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((str(address), 9))  # sends nothing: the system chooses from where it would
        return ip_address(sock.getsockname()[0]) == address
    return False


def is_address(text: str) -> bool:
    """Say whether *text* is an IP address, IPv6 with or without brackets."""
    try:
        ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def parse_resolve(text: str) -> tuple[Address, int | None]:
    """Read the ``ADDR[:PORT]`` that a trusted route dials instead of asking DNS.

    Args:
        text: ``10.0.0.5``, ``10.0.0.5:8443``, ``::1`` or ``[::1]:8443``.

    Returns:
        The address, and the port; ``None`` stands for the route's own.

    Raises:
        ValueError: it has another form, or no route may reach the address (metadata services, link-local, multicast,
            unspecified).  The message continues a sentence that begins with *text*; its second line is what to write.
    """
    parts = _RESOLVE.match(text)
    if parts is None:
        raise ValueError("is not an address\nWrite 10.0.0.5, 10.0.0.5:8443 or [fd00::5]:8443")
    try:
        address = ip_address(parts["bracketed"] or parts["v4"] or parts["v6"])
    except ValueError:
        raise ValueError("is not an address\nWrite 10.0.0.5, 10.0.0.5:8443 or [fd00::5]:8443") from None
    digits = parts["port6"] or parts["port4"]
    if digits and not 0 < int(digits) < 65536:
        raise ValueError("has no port from 1 to 65535")
    reached = _embedded(address) or address
    if reached.is_link_local or str(reached) in _METADATA:
        raise ValueError("is a metadata service or a link-local address: it is never reachable")
    if reached.is_multicast or reached.is_unspecified:
        raise ValueError("is no single host's address")
    return address, int(digits) if digits else None


def _embedded(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 one reach by mapping, 6to4 or NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
