"""The addresses of this host, which a gateway in a container must not dial."""

from __future__ import annotations

import contextlib
import re
import socket
from pathlib import Path
from typing import Final

# Linux lists here every local address of every interface of this network namespace.
_FIB_TRIE: Final = Path("/proc/net/fib_trie")
_LOCAL_V4: Final = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")
_IF_INET6: Final = Path("/proc/net/if_inet6")


def of_this_host() -> tuple[str, ...]:
    """Return every address of this host, loopback and bridges included, IPv4 first; link-local ones are left out."""
    v4 = {"127.0.0.1", *_of_interfaces(), *_of_name(), *_of_default_route()}
    v6 = {"::1", *_of_interfaces_v6()} if socket.has_ipv6 else set()
    return (*sorted(v4), *sorted(v6))


def _of_interfaces() -> set[str]:
    with contextlib.suppress(OSError):
        return {*_LOCAL_V4.findall(_FIB_TRIE.read_text())}
    return set()


def _of_interfaces_v6() -> set[str]:
    if not _IF_INET6.exists():
        return set()
    raw = (bytes.fromhex(line.split()[0]) for line in _IF_INET6.read_text().splitlines())
    return {text for text in (socket.inet_ntop(socket.AF_INET6, data) for data in raw) if not text.startswith("fe80")}


def _of_name() -> set[str]:
    with contextlib.suppress(OSError):
        return set(socket.gethostbyname_ex(socket.gethostname())[2])
    return set()


def _of_default_route() -> set[str]:
    """Ask the kernel which source address the default route has; nothing is sent (198.51.100.0/24: RFC 5737)."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        return {str(probe.getsockname()[0])}
    return set()
