"""The addresses by which a program inside a bottle might try to reach this host."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

_SIOCGIFADDR = 0x8915  # <linux/sockios.h>; netdevice(7)
_IF_INET6 = Path("/proc/net/if_inet6")


def of_this_host() -> tuple[str, ...]:
    """Return every address of this host, loopback and bridges included, IPv4 first; link-local ones are left out."""
    v4 = {"127.0.0.1", *_of_interfaces(), *_of_name(), *_of_default_route()}
    v6 = {"::1", *_of_interfaces_v6()} if socket.has_ipv6 else set()
    return (*sorted(v4), *sorted(v6))


def _of_interfaces() -> set[str]:
    try:
        import fcntl
    except ImportError:  # no Unix
        return set()
    found = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without an address
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                found.add(socket.inet_ntoa(answer[20:24]))
    return found


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
    """Ask the kernel from where it would send to the outside; nothing is sent (198.51.100.0/24: RFC 5737)."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        return {str(probe.getsockname()[0])}
    return set()
