"""A gateway process of the test's own, on loopback, in front of a server of the test's own."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bb_jupyter.gateway.control.gateway_client import GatewayClient
from bb_jupyter.gateway.control.gateway_config import GatewayConfig, GatewayLimits
from bb_jupyter.policy.routes import AuthConfig, RouteConfig
from tests.integration.gateway.upstream import Upstream

TOKEN = "sk-test/Very+Secret=0123456789"


class Proxy:
    """A gateway and what a client of it needs."""

    def __init__(self, config: GatewayConfig, **options: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            self.port = listener.getsockname()[1]
            self.client = GatewayClient.spawn(
                config, {"egress": listener.fileno()}, on_event=self._on_event, timeout=60, **options
            )
        self.trust = ssl.create_default_context(cadata=self.client.ca_pem)

    def _on_event(self, event: dict[str, Any]) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def event(self, **wanted: Any) -> dict[str, Any]:
        """Wait for an event with these fields; return it."""

        def found() -> list[dict[str, Any]]:
            return [e for e in self.events if all(e.get(key) == value for key, value in wanted.items())]

        with self._changed:
            assert self._changed.wait_for(found, 20), f"no event {wanted} in {self.events[-5:]}"
            return found()[-1]

    def raw(self) -> socket.socket:
        """Connect to the proxy's port."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def connect(self, authority: str, headers: str = "") -> tuple[socket.socket, bytes]:
        """Send CONNECT; return the socket and the head of the answer."""
        sock = self.raw()
        sock.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{headers}\r\n".encode("latin-1"))
        head = b""
        while b"\r\n\r\n" not in head:
            piece = sock.recv(1)
            if not piece:
                break
            head += piece
        return sock, head

    def https(
        self, host: str, *, sni: str | None = None, trust: ssl.SSLContext | None = None, port: int = 443
    ) -> http.client.HTTPConnection:
        """Return an HTTP connection through CONNECT and TLS."""
        sock, head = self.connect(f"{host}:{port}")
        assert head.startswith(b"HTTP/1.1 200"), head
        context = trust or self.trust
        connection = http.client.HTTPConnection(host, timeout=20)
        connection.sock = context.wrap_socket(sock, server_hostname=sni or host)
        return connection

    def get(self, host: str, target: str, method: str = "GET", **options: Any) -> tuple[Any, bytes]:
        """Do one request through an intercepted or tunnelled connection."""
        trust = options.pop("trust", None)
        with closing(self.https(host, trust=trust)) as connection:
            connection.request(method, target, **options)
            answer = connection.getresponse()
            return answer, answer.read()

    def plain(self, head: str) -> bytes:
        """Send raw request bytes to the proxy; return everything it answers."""
        with self.raw() as sock:
            sock.sendall(head.encode("latin-1"))
            data = b""
            while piece := sock.recv(65536):
                data += piece
            return data


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    server = Upstream(tmp_path_factory.mktemp("pki"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def routes(upstream: Upstream) -> list[RouteConfig]:
    here, plain = f"127.0.0.1:{upstream.tls_port}", f"127.0.0.1:{upstream.plain_port}"
    base = RouteConfig("tunnel.test", resolve=here, ca_pem=upstream.ca_pem)
    return [
        base,
        replace(base, host="auth.test", auth=AuthConfig("bearer", TOKEN)),
        replace(base, host="xn--bcher-kva.test", auth=AuthConfig("bearer", TOKEN)),
        replace(base, host="basic.test", auth=AuthConfig("basic", TOKEN, username="me")),
        replace(base, host="key.test", auth=AuthConfig("header", TOKEN, header="X-Api-Key")),
        replace(base, host="read.test", methods=("GET", "HEAD")),
        replace(base, host="paths.test", paths=("/api", "/repos/*/issues", "/pub/**")),
        replace(base, host="any.test", methods=("GET", "HEAD", "POST", "PUT", "OPTIONS")),
        replace(base, host="*.wild.test"),
        replace(base, host="plain.test", scheme="http", port=80, resolve=plain, ca_pem=None),
        replace(base, host="wrong.test", methods=("GET",), resolve=f"127.0.0.1:{upstream.wrong_port}"),
        replace(base, host="down.test", methods=("GET",), resolve="127.0.0.1:1"),
        replace(base, host="down-tunnel.test", resolve="127.0.0.1:1"),
        RouteConfig("localhost"),
        RouteConfig("localhost", port=80, scheme="http"),
    ]


@pytest.fixture(scope="module")
def proxy(routes: list[RouteConfig]) -> Iterator[Proxy]:
    gateway = Proxy(GatewayConfig("demo-0a1b2c3d", "demo", tuple(routes), limits=GatewayLimits(connect=10)))
    yield gateway
    gateway.client.stop()


@pytest.fixture
def start(routes: list[RouteConfig]) -> Iterator[Callable[..., Proxy]]:
    """Start more gateways, with other settings."""
    started: list[Proxy] = []

    def make(*own: RouteConfig, **options: Any) -> Proxy:
        started.append(Proxy(GatewayConfig("more-0a1b2c3d", "more", tuple(own), **options)))
        return started[-1]

    yield make
    for gateway in started:
        gateway.client.stop()


@pytest.fixture
def handoff_socket(tmp_path: Path) -> Path:
    return tmp_path / "hand_off"
