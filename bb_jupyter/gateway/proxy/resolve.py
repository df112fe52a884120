"""Resolving a host: a name is looked up once, every address is checked, and what was checked is what is dialled."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection, Sequence
from ipaddress import ip_address

from bb_jupyter.policy.addresses import is_own, is_public, parse_resolve
from bb_jupyter.policy.denials import Denied, UpstreamFailed

Address = tuple[socket.AddressFamily, str, int]


async def _lookup(host: str, port: int, limit: float) -> Sequence[Address]:
    """Ask the system's resolver once."""
    try:
        async with asyncio.timeout(limit):
            loop = asyncio.get_running_loop()
            infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except TimeoutError:
        raise UpstreamFailed(f"{host}: the name was not resolved within {limit:g} s") from None
    except (OSError, UnicodeError) as error:
        raise UpstreamFailed(f"{host}: the name does not resolve ({getattr(error, 'strerror', '')})") from None
    return [(family, str(where[0]), port) for family, _, _, _, where in infos]


async def resolve(
    host: str, port: int, override: str | None, *, limit: float = 10.0, own: Collection[str] = ()
) -> Sequence[Address]:
    """Return the addresses to dial for a canonical host name.

    Args:
        host: canonical name that policy has allowed.
        port: port that policy has allowed.
        override: the route's ``resolve``, taken as it is; ``None`` asks DNS.
        limit: seconds to wait for DNS.
        own: addresses that are refused as this machine's own are.

    Returns:
        At least one ``(family, address, port)``.

    Raises:
        Denied: rule ``address``: one of the addresses is not on the public internet, or is this machine's own.
        UpstreamFailed: the name does not resolve.
    """
    if override is not None:
        address, other = parse_resolve(override)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, address, other or port)]
    found = await _lookup(host, port, limit)
    if not found:
        raise UpstreamFailed(f"{host}: the name has no address")
    for _, text, _ in found:
        if "%" in text or not is_public(at := ip_address(text)) or is_own(at) or str(at) in own:
            hint = "only a route with `resolve:` in a trusted manifest may name a private address"
            raise Denied("address", f"{host} resolves to {text}, which is private or this machine's own", hint=hint)
    return found
