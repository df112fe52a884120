"""A gateway's life: policy replaced while it runs, sockets handed off, its owner gone, its own end."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bb_jupyter.errors import BackendUnavailable, BottleGone, ManifestError
from bb_jupyter.gateway.audit.audit_log import AuditLog, read
from bb_jupyter.gateway.control.gateway_client import GatewayClient, PipeChannel
from bb_jupyter.gateway.control.gateway_config import GatewayConfig
from bb_jupyter.gateway.handoff.send_listener import hand_off
from bb_jupyter.gateway.handoff.spawn_gateway import GatewayProcess
from bb_jupyter.policy.routes import AuthConfig, RouteConfig
from tests.integration.gateway.conftest import TOKEN, Proxy
from tests.integration.gateway.upstream import Upstream


def _route(routes: list[RouteConfig], host: str) -> RouteConfig:
    return next(route for route in routes if route.host == host)


def test_policy_is_replaced_as_a_whole(start: Callable[..., Proxy], routes: list[RouteConfig]) -> None:
    gateway = start(_route(routes, "any.test"))
    assert gateway.get("any.test", "/echo")[0].status == 200
    assert gateway.client.replace_policy([_route(routes, "read.test")]) == 2
    assert gateway.client.generation == 2
    sock, head = gateway.connect("any.test:443")
    sock.close()
    assert head.startswith(b"HTTP/1.1 403")
    assert gateway.event(verdict="denied")["generation"] == 2
    assert gateway.get("read.test", "/echo")[0].status == 200


def test_narrowing_closes_what_is_no_longer_allowed(
    start: Callable[..., Proxy], routes: list[RouteConfig], upstream: Upstream
) -> None:
    tunnel, seen = _route(routes, "tunnel.test"), _route(routes, "any.test")
    gateway = start(tunnel, seen)
    upstream.go_on.clear()
    with (
        closing(gateway.https("tunnel.test", trust=ssl.create_default_context(cadata=upstream.ca_pem))) as relay,
        closing(gateway.https("any.test")) as kept,
        closing(gateway.https("any.test")) as streaming,
    ):
        kept.request("GET", "/echo")
        kept.getresponse().read()
        streaming.request("GET", "/sse")
        answer = streaming.getresponse()
        assert answer.read1(100)
        gateway.client.replace_policy([replace(seen, paths=("/echo",))])
        with pytest.raises(OSError):
            assert relay.sock.recv(1) == b""
            raise ConnectionResetError
        with pytest.raises((OSError, EOFError, __import__("http").client.HTTPException)):
            answer.read()
        kept.request("GET", "/echo")
        assert kept.getresponse().status == 200
    upstream.go_on.set()
    assert gateway.event(event="policy", ok=True)["closed"] == 2
    assert gateway.event(event="egress-end", error="policy-changed")


def test_a_connection_that_begins_late_is_judged_by_the_policy_of_then(
    start: Callable[..., Proxy], routes: list[RouteConfig], upstream: Upstream
) -> None:
    gateway = start(_route(routes, "tunnel.test"))
    sock, head = gateway.connect("tunnel.test:443")
    assert head.startswith(b"HTTP/1.1 200")
    gateway.client.replace_policy([])
    trust = ssl.create_default_context(cadata=upstream.ca_pem)
    with sock, pytest.raises(OSError):
        trust.wrap_socket(sock, server_hostname="tunnel.test")
    assert gateway.event(verdict="denied", rule="policy-changed")["host"] == "tunnel.test"


def test_invalid_policy_changes_nothing(start: Callable[..., Proxy], routes: list[RouteConfig]) -> None:
    gateway = start(_route(routes, "any.test"))
    secret = AuthConfig("bearer", TOKEN + "\n")
    for bad in (
        replace(routes[0], host="*.com"),
        replace(routes[0], host="10.0.0.1"),
        replace(routes[0], port=0),
        replace(routes[0], resolve="169.254.169.254"),
        replace(routes[0], ca_pem="nonsense"),
        replace(routes[0], auth=secret),
        replace(routes[0], auth=AuthConfig("bearer", TOKEN), scheme="http"),
    ):
        with pytest.raises(ManifestError, match="unchanged") as caught:
            gateway.client.replace_policy([bad])
        assert TOKEN not in str(caught.value)
    assert gateway.client.generation == 1
    assert gateway.get("any.test", "/echo")[0].status == 200
    gateway.client._tell(op="policy", generation=1, routes=[])
    assert "not newer" in gateway.event(event="policy", requested=1)["error"]
    gateway.client._tell(op="nonsense")
    assert gateway.event(event="error")
    assert gateway.get("any.test", "/echo")[0].status == 200


def test_dead_gateway_is_noticed_and_nothing_is_open(start: Callable[..., Proxy], routes: list[RouteConfig]) -> None:
    gateway = start(*routes)
    os.kill(gateway.client._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    gateway.event(event="gateway-died")
    gateway.client._reader.join(10)
    assert not gateway.client.alive
    with pytest.raises(OSError):
        gateway.raw().close()
    with pytest.raises(BottleGone):
        gateway.client.replace_policy([])


def test_it_ends_with_its_owner(start: Callable[..., Proxy]) -> None:
    gateway = start()
    gateway.client.detach()
    assert gateway.client._process.wait(20) == 0  # type: ignore[union-attr]


def test_interrupt_of_the_notebook_is_not_for_the_gateway(start: Callable[..., Proxy]) -> None:
    gateway = start()
    os.kill(gateway.client._process.pid, signal.SIGINT)  # type: ignore[union-attr]
    gateway.client.replace_policy([])
    assert gateway.client.alive


def test_bad_configuration_is_an_error_without_the_secret() -> None:
    config = GatewayConfig("x", routes=(RouteConfig("*", auth=AuthConfig("bearer", TOKEN)),))
    assert TOKEN not in repr(config)
    with pytest.raises(ManifestError, match=r"routes\[0\].host") as caught:
        GatewayClient.spawn(config, {}, timeout=60)
    assert TOKEN not in str(caught.value)


def test_socket_that_is_none_is_refused() -> None:
    with socket.socket() as closed, pytest.raises(BackendUnavailable, match="not a listening"):
        GatewayClient.spawn(GatewayConfig("x"), {"egress": closed.fileno()}, timeout=60)


def test_no_gateway_is_unavailable() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    client = GatewayClient(PipeChannel(process), process=process)
    with pytest.raises(BackendUnavailable):
        client.start(GatewayConfig("x"), timeout=30)
    client.stop()


def _own_process(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "bb_jupyter.gateway", *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_sockets_are_handed_off_again_and_again(tmp_path: Path) -> None:
    process = _own_process("--handoff-socket", str(tmp_path / "d"))
    client = GatewayClient(PipeChannel(process), process=process)
    client.start(GatewayConfig("x"), timeout=60)
    for _ in range(2):
        port = _free_port()
        assert hand_off(str(tmp_path / "d"), {"egress": port, "git-gate": 0}) == "ok"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n")
            assert b"403" in sock.recv(1000)
    assert "service names" in hand_off(str(tmp_path / "d"), {"nonsense": 0})
    with socket.create_connection(("127.0.0.1", port), timeout=20):
        pass
    client.stop()


def test_shut_down_listener_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        lost = threading.Event()
        client = GatewayClient.spawn(
            GatewayConfig("x"),
            {"egress": listener.fileno()},
            on_event=lambda event: lost.set() if event["event"] == "listener-lost" else None,
            timeout=60,
        )
        listener.shutdown(socket.SHUT_RDWR)
        assert lost.wait(20)
        client.stop()


def test_kept_gateway_outlives_its_owner_and_is_controlled_by_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "control")
    handoffs = str(tmp_path / "d")
    process = _own_process("--control", path, "--handoff-socket", handoffs)
    owner = GatewayClient(PipeChannel(process))
    owner.start(GatewayConfig("x", keep=True), timeout=60)
    owner.detach()
    while not Path(path).exists():
        assert process.poll() is None
    port = _free_port()
    assert hand_off(handoffs, {"egress": port}) == "ok"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(b"CONNECT unheard.test:443 HTTP/1.1\r\nHost: unheard.test:443\r\n\r\n")
        assert b"403" in sock.recv(1000)
    bridge = subprocess.Popen(
        [sys.executable, "-P", "-m", "bb_jupyter.gateway.control.socket_bridge", path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    heard: list[dict[str, object]] = []
    second = GatewayClient(PipeChannel(bridge), process=bridge, on_event=heard.append)
    second.start(None, timeout=60)
    assert second.ca_pem == owner.ca_pem
    assert second.replace_policy([RouteConfig("a.test")]) == 2
    assert [event["host"] for event in heard if event["event"] == "egress"] == ["unheard.test"]
    second.stop()
    assert process.wait(20) == 0


def test_events_are_kept(
    start: Callable[..., Proxy], routes: list[RouteConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOT_BOTTLE_HOME", str(tmp_path))
    events: list[dict[str, object]] = []
    log = AuditLog("kept-0a1b2c3d")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = GatewayClient.spawn(
            GatewayConfig("kept-0a1b2c3d", "kept", tuple(routes)),
            {"egress": listener.fileno()},
            audit=log,
            on_event=events.append,
            timeout=60,
        )
        with socket.create_connection(listener.getsockname(), timeout=20) as sock:
            sock.sendall(b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n")
            assert sock.recv(1000)
        client.stop()
    log.close()
    kept = read("kept")
    assert [event["host"] for event in kept if event.get("verdict") == "denied"] == ["evil.test"]
    assert TOKEN not in json.dumps(kept)
    assert "ca_pem" not in json.dumps(kept)


def test_who_connects_before_it_is_ready_waits_and_is_served() -> None:
    process = GatewayProcess()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname(), timeout=60) as sock:
            sock.sendall(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n")
            client = GatewayClient.spawn(
                GatewayConfig("x"), {"egress": listener.fileno()}, process=process, ready=False, timeout=60
            )
            assert client.alive
            assert b"403" in sock.recv(1000)
        client.stop()
    assert process.popen.returncode is not None


@pytest.mark.parametrize("begun", [True, False])
def test_one_that_is_not_ready_ends_at_once(begun: bool) -> None:
    process = GatewayProcess()
    if begun:
        client = GatewayClient.spawn(GatewayConfig("x"), {}, process=process, ready=False, timeout=60)
        client.stop()
        assert not client.alive
    for _ in range(2):
        process.kill()
    assert process.popen.returncode is not None
