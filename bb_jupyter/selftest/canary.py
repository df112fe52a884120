"""The canary: servers on every address of this host that record connections from a bottle.  None must arrive."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import socket
import threading
from types import TracebackType
from typing import Final, Self

from bb_jupyter.gateway.proxy import host_addresses

#: Environment variable of this process with a secret that must not be found in a bottle.
VARIABLE: Final = "BB_SELFTEST_TOKEN"
_ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\ncanary\n"
_MOST: Final = 4096
#: Seconds that a client may take to send something, and that `heard` waits for its own datagram.
_PATIENCE: Final = 3.0


class Canary:
    """Servers for TCP and UDP on one port of every address, and for an abstract Unix socket, during a `with` block.

    Messages with the token are recorded; others, such as those of a port scanner, are not.

    Attributes:
        token: unguessable text in every message of a probe.
        addresses: this host's addresses.
        port: port for TCP and UDP.
        secret: value of the variable `BB_SELFTEST_TOKEN` of this process, which must not be found in a bottle.
        abstract: name of the Unix socket (Linux only: the name belongs to a network namespace); empty for none.
    """

    def __init__(self) -> None:
        self.token = f"bb-{secrets.token_hex(8)}"
        self.secret = secrets.token_urlsafe(24)
        self.addresses = host_addresses.of_this_host()
        self.abstract = ""
        self._arrivals: list[str] = []
        self._changed = threading.Condition()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._selector = stack.enter_context(selectors.DefaultSelector())
            self._wake, ours = (stack.enter_context(end) for end in socket.socketpair())
            self._selector.register(ours, selectors.EVENT_READ, "end")
            tcp = stack.enter_context(_listening())
            self.port = tcp.getsockname()[1]
            udp = stack.enter_context(socket.socket(tcp.family, socket.SOCK_DGRAM))
            _both_families(udp)
            udp.bind(("", self.port))
            self._selector.register(tcp, selectors.EVENT_READ, "tcp")
            self._selector.register(udp, selectors.EVENT_READ, "udp")
            with contextlib.suppress(OSError):
                self._listen_abstract(stack)
            os.environ[VARIABLE] = self.secret
            stack.callback(os.environ.pop, VARIABLE, None)
            self._thread = threading.Thread(target=self._serve, name="bottle-canary", daemon=True)
            self._thread.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._wake.send(b"x")
        self._thread.join()
        self._stack.close()

    def heard(self) -> list[str]:
        """Return the recorded messages, each with its protocol.  Waits for datagrams under way."""
        mark = f"{self.token}-mark-{secrets.token_hex(4)}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.sendto(mark.encode(), ("127.0.0.1", self.port))
        with self._changed:
            self._changed.wait_for(lambda: any(mark in line for line in self._arrivals), _PATIENCE)
            return [line for line in self._arrivals if "-mark-" not in line]

    def _listen_abstract(self, stack: contextlib.ExitStack) -> None:
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(f"\0{self.token}")
        unix.listen()
        self._selector.register(unix, selectors.EVENT_READ, "unix")
        self.abstract = self.token

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                sock = key.fileobj
                if key.data == "end" or not isinstance(sock, socket.socket):
                    return
                with contextlib.suppress(OSError):
                    self._datagram(sock) if key.data == "udp" else self._connection(sock, key.data)

    def _datagram(self, sock: socket.socket) -> None:
        data, sender = sock.recvfrom(_MOST)
        self._remember("udp", data)
        sock.sendto(b"canary\n", sender)

    def _connection(self, listener: socket.socket, kind: str) -> None:
        connection, _ = listener.accept()
        threading.Thread(target=self._answer, args=(connection, kind), daemon=True).start()

    def _answer(self, connection: socket.socket, kind: str) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_PATIENCE)
            self._remember(kind, connection.recv(_MOST))
            connection.sendall(_ANSWER)

    def _remember(self, kind: str, data: bytes) -> None:
        text = data.decode("latin-1")
        if self.token in text:
            with self._changed:
                self._arrivals.append(f"{kind} {text[:120]!r}")
                self._changed.notify_all()


def _listening() -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def _both_families(sock: socket.socket) -> None:
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
