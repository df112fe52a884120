"""Which addresses belong to the public internet, and which a route may name by hand."""

from __future__ import annotations

import contextlib
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
# Metadata services outside 169.254.0.0/16: Azure, Alibaba Cloud, Oracle (older); AWS over IPv6.
_METADATA_V4: Final = frozenset({"168.63.129.16", "100.100.100.200", "192.0.0.192"})
_METADATA_V6: Final = IPv6Network("fd00:ec2::254/128")
_NAT64: Final = IPv6Network("64:ff9b::/96")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Say whether an address belongs to the public internet and to nothing that only this host can reach."""
    if isinstance(address, IPv4Address):
        return not any(address in net for net in _FORBIDDEN_V4)
    return address in _GLOBAL_V6 and not any(address in net for net in _FORBIDDEN_V6)


def is_own(address: IPv4Address | IPv6Address) -> bool:
    """Say whether this machine has an address itself, a public one perhaps, at which its own services listen."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((str(address), 9))  # sends nothing: the system chooses from where it would
        return ip_address(sock.getsockname()[0]) == address
    return False


def parse_resolve(text: str) -> tuple[str, int | None]:
    """Read ``ADDR[:PORT]`` (IPv6 with a port in brackets), the address that a trusted route dials instead of DNS.

    Raises:
        ValueError: it is no IP address, or the port is out of range.
    """
    host, port = text, ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, port = text.split(":")
    number = int(port) if port else None
    if number is not None and not 0 < number < 65536:
        raise ValueError("port out of range")
    address = ip_address(host)
    if address.is_multicast or address.is_unspecified or _is_metadata(address):
        raise ValueError("link-local, metadata, multicast and unspecified addresses are never reachable")
    return str(address), number


def _is_metadata(address: IPv4Address | IPv6Address) -> bool:
    """Say whether an address, also inside an IPv6 wrapper, is link-local or a cloud's metadata service."""
    if isinstance(address, IPv6Address):
        if address.is_link_local or address in _METADATA_V6:
            return True
        embedded = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            embedded = IPv4Address(int(address) & 0xFFFFFFFF)
        return embedded is not None and _is_metadata(embedded)
    return address.is_link_local or str(address) in _METADATA_V4
