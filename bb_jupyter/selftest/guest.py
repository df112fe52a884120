"""What runs inside a bottle (`python3 -I -S - ATTEMPTS`): dials, says and listens as told, prints what came of it.

Any Python from 3.7 on and the standard library alone; nothing is written anywhere.
"""

from __future__ import annotations

import base64
import errno
import json
import socket
import sys
import time
from typing import Any

MOST = 65536
# <linux/socket.h>; <linux/vm_sockets.h>: VMADDR_CID_LOCAL, so that no hypervisor is asked anything
AF_PACKET, AF_VSOCK, CID_LOCAL = 17, 40, 1


def family_of(kind: str, address: str) -> int:
    """Return the address family of an attempt."""
    inet = socket.AF_INET6 if ":" in address else socket.AF_INET
    return {"unix": socket.AF_UNIX, "vsock": AF_VSOCK, "packet": AF_PACKET}.get(kind, inet)


def make(kind: str, family: int) -> socket.socket:
    """Open a socket, for a ping the least privileged one that this bottle grants."""
    if kind == "icmp":
        protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
        try:
            return socket.socket(family, socket.SOCK_RAW, protocol)
        except PermissionError:
            return socket.socket(family, socket.SOCK_DGRAM, protocol)
    types = {"udp": socket.SOCK_DGRAM, "packet": socket.SOCK_RAW}
    return socket.socket(family, types.get(kind, socket.SOCK_STREAM))


def is_whole(data: bytes) -> bool:
    """Say whether this is an HTTP answer with all of its body, as far as its length is told."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return True


def listen(sock: socket.socket) -> bytes:
    """Return what comes until an answer is whole or the other end closes."""
    data = b""
    while len(data) < MOST and not is_whole(data):
        piece = sock.recv(MOST)
        if not piece:
            break
        data += piece
    return data


def exchange(told: dict[str, Any], answers: list[bytes]) -> None:
    """Do one attempt and add what is answered to *answers*; raises OSError."""
    kind, address, port = told["kind"], told["address"], told["port"]
    if kind == "name":
        answers += [str(found[4][0]).encode() for found in socket.getaddrinfo(address, None)]
        return
    places: dict[str, Any] = {"unix": "\0" + address, "vsock": (CID_LOCAL, port)}
    with make(kind, family_of(kind, address)) as sock:
        if kind == "packet":
            answers.append(b"a socket on the wire")
            return
        sock.settimeout(told["limit"])
        sock.connect(places.get(kind, (address, port)))
        for words in told["say"]:
            sock.sendall(base64.b64decode(words))
            answers.append(sock.recv(MOST) if kind in ("udp", "icmp") else listen(sock))


def attempt(told: dict[str, Any]) -> dict[str, Any]:
    """Do one attempt and return what came of it."""
    answers: list[bytes] = []
    error, began = "", time.monotonic()
    try:
        exchange(told, answers)
    except socket.timeout:  # noqa: UP041 - only from 3.10 on is it TimeoutError
        error = "timeout"
    except OSError as failed:
        error = errno.errorcode.get(failed.errno or 0) or type(failed).__name__
    except (OverflowError, ValueError) as failed:
        error = type(failed).__name__
    texts = [base64.b64encode(answer).decode() for answer in answers]
    return {"error": error, "answers": texts, "seconds": time.monotonic() - began}


if __name__ == "__main__":
    print(json.dumps([attempt(told) for told in json.loads(sys.argv[1])]))  # noqa: T201
