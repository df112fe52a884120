"""Host names and addresses of routes: normalised, or refused with what to write instead.

Used for manifests and for hosts that are allowed by hand, so it needs neither pydantic nor a manifest.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

import idna

from bb_jupyter.text.visible import quoted

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# WHATWG URL, "ends in a number": what a resolver may read as an IPv4 address (127.1, 0x7f000001, 017700000001).
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
# `*.co.uk` is as wide as `*.com`: second levels that registries, not owners, hold (publicsuffix.org, ICANN section).
_REGISTRY = re.compile(r"(ac|co|com|edu|gov|net|org)\.[a-z]{2}")
_METADATA_NAMES = {"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"}
# Instance metadata outside link-local: AWS over IPv6, Alibaba Cloud, Azure's wire server, Oracle's older address.
_METADATA = {
    ipaddress.ip_address(address) for address in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052, the well-known prefix


def normalise_host(text: str) -> str:
    """Bring a route's host to the form that requests are compared with.

    Args:
        text: an exact host, or ``*.suffix`` for every host below (and not equal to) the suffix.

    Returns:
        ASCII, lower case, punycode for other scripts (UTS 46), no trailing dot.

    Raises:
        ValueError: not a host name, an address literal, a metadata service, or a pattern that is too wide; a second
            line of the message, where there is one, says what to write.
    """
    _refuse_url(text)
    wild = text.startswith("*.")
    name = _ascii(text[2:] if wild else text)
    _refuse_address(text, name)
    if wild and ("." not in name or _REGISTRY.fullmatch(name)):
        raise ValueError(f"{quoted(text)} is too wide\nName the domain: *.example.com")
    if name in _METADATA_NAMES:
        raise ValueError(f"{quoted(text)} is a cloud's metadata service: it is never reachable")
    return f"*.{name}" if wild else name


def _refuse_url(text: str) -> None:
    if not text or re.search(r"[\s\x00-\x20\x7f-\x9f\\%?#]", text):
        raise ValueError(f"{quoted(text)} is not a host name")
    if "/" in text or "@" in text or re.fullmatch(r"[^:\[\]]+:\d*", text):
        raise ValueError(f"{quoted(text)} is more than a host" + _suggestion(text))
    if text == "*":
        raise ValueError("'*' is too wide\nName each host, or a domain: *.example.com")


def _suggestion(text: str) -> str:
    """Find the host and the port in a URL, as the second line of a message; empty when there is none."""
    if "@" in text:
        return ""
    try:
        url = urlsplit(text if "//" in text else f"//{text}")
        host, port = normalise_host(url.hostname or ""), url.port
    except ValueError:
        return ""
    scheme = ", scheme: http" if url.scheme == "http" else ""
    return f"\nWrite host: {host}{f', port: {port}' if port else ''}{scheme}"


def _ascii(name: str) -> str:
    name = name.lower().removesuffix(".")
    if not name.isascii() or "xn--" in name:
        try:
            name = idna.encode(name, uts46=True, std3_rules=True).decode("ascii").removesuffix(".")
        except UnicodeError as error:
            raise ValueError(f"{quoted(name)} is not a host name (IDNA: {error})") from error
    return name


def _refuse_address(text: str, name: str) -> None:
    labels = name.split(".")
    if _NUMERIC.fullmatch(labels[-1]) or is_address(name):
        raise ValueError(f"{quoted(text)} is an address, not a name\nGive a name, and the address as resolve: ADDR")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{quoted(text)} is not a host name")


def is_address(text: str) -> bool:
    """Say whether *text* is an IP address, IPv6 with or without its brackets."""
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def split_address(text: str) -> tuple[Address, int | None]:
    """Read the ``ADDR[:PORT]`` of a route's ``resolve``.

    Args:
        text: ``10.0.0.5``, ``10.0.0.5:8443``, ``::1`` or ``[::1]:8443``.

    Returns:
        The address and the port, ``None`` when it is the route's own.

    Raises:
        ValueError: not of that form, or an address that no route may reach (metadata services, link-local, multicast,
            unspecified).
    """
    match = re.fullmatch(r"\[([0-9a-f:.]+)\](?::(\d{1,5}))?|(\d+(?:\.\d+){3})(?::(\d{1,5}))?|([0-9a-f:.]+)", text, re.I)
    if not match:
        raise ValueError(f"{quoted(text)} is not an address\nWrite 10.0.0.5, 10.0.0.5:8443 or [fd00::5]:8443")
    try:
        address = ipaddress.ip_address(match[1] or match[3] or match[5])
    except ValueError as error:
        raise ValueError(f"{quoted(text)} is not an address ({error})") from error
    port = int(match[2] or match[4]) if match[2] or match[4] else None
    if port is not None and not 1 <= port <= 65535:
        raise ValueError(f"{port} is not a port (1 to 65535)")
    if is_metadata(address):
        raise ValueError(f"{quoted(text)} is a metadata service or a link-local address: it is never reachable")
    if address.is_multicast or address.is_unspecified:
        raise ValueError(f"{quoted(text)} is no single host's address")
    return address, port


def is_metadata(address: Address) -> bool:
    """Say whether *address*, also inside an IPv6 wrapper, is link-local or a cloud's metadata service."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_metadata(inner)
    return address.is_link_local or address in _METADATA
