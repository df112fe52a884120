"""The proxy's front: CONNECT, absolute URLs, tunnels, and what is refused before anything is dialled."""

from __future__ import annotations

import os
import resource
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from shutil import which

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bb_jupyter.gateway.control.gateway_config import GatewayLimits
from bb_jupyter.policy.routes import RouteConfig
from tests.integration.gateway.conftest import Proxy
from tests.integration.gateway.upstream import Upstream
from tests.unit.gateway.test_parts import hello_bytes, with_extension


@pytest.fixture
def end_to_end(upstream: Upstream) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=upstream.ca_pem)


def test_tunnel_is_tls_end_to_end(proxy: Proxy, upstream: Upstream, end_to_end: ssl.SSLContext) -> None:
    answer, _ = proxy.get("tunnel.test", "/echo", trust=end_to_end, headers={"Authorization": "own"})
    assert answer.status == 200
    assert upstream.requests[-1][2]["Authorization"] == "own"
    assert proxy.event(event="egress", host="tunnel.test")["mode"] == "tunnel"
    end = proxy.event(event="egress-end", host="tunnel.test")
    assert min(end["up"], end["down"]) > 100


def test_wildcard_covers_subdomains_only(proxy: Proxy, end_to_end: ssl.SSLContext) -> None:
    answer, _ = proxy.get("a.b.wild.test", "/echo", trust=end_to_end)
    assert answer.status == 200
    sock, head = proxy.connect("wild.test:443")
    sock.close()
    assert b"X-Bottle-Denied: no-route" in head


@pytest.mark.parametrize(
    ("authority", "rule"),
    [
        ("other.test:443", "no-route"),
        ("tunnel.test.evil.test:443", "no-route"),
        ("eviltunnel.test:443", "no-route"),
        ("tunnel.test:22", "port"),
        ("TUNNEL.TEST.:22", "port"),
        ("127.0.0.1:443", "ip-literal"),
        ("2130706433:443", "ip-literal"),
        ("0x7f.1:443", "ip-literal"),
        ("0177.0.0.1:443", "ip-literal"),
        ("[::1]:443", "ip-literal"),
        ("[::ffff:127.0.0.1]:443", "ip-literal"),
        ("169.254.169.254:80", "ip-literal"),
        ("localhost:443", "address"),
    ],
)
def test_refused_connects(proxy: Proxy, authority: str, rule: str) -> None:
    sock, head = proxy.connect(authority)
    with sock:
        assert head.startswith(b"HTTP/1.1 403"), head
        assert f"X-Bottle-Denied: {rule}".encode() in head
        assert rule.encode() in sock.recv(4096)
    assert proxy.event(event="egress", verdict="denied", rule=rule)


@pytest.mark.parametrize(
    "authority",
    [
        "evil\0.tunnel.test:443",
        "tunnel.test@evil:443",
        "tunnel.test",
        "tunnel.test:0",
        "tunnel.test:99999",
        "é.test:443",
    ],
)
def test_malformed_connects(proxy: Proxy, upstream: Upstream, authority: str) -> None:
    before = upstream.connections
    sock, head = proxy.connect(authority)
    sock.close()
    assert head.split(b" ")[1:2] in ([b"400"], [b"403"])
    assert upstream.connections == before


def test_upper_case_and_a_trailing_dot_are_the_same_host(proxy: Proxy, end_to_end: ssl.SSLContext) -> None:
    sock, head = proxy.connect("TUNNEL.test.:443")
    assert head.startswith(b"HTTP/1.1 200")
    with end_to_end.wrap_socket(sock, server_hostname="tunnel.test"):
        pass


@pytest.mark.parametrize("host", ["tunnel.test", "any.test"])
@pytest.mark.parametrize(("name", "rule"), [("evil.test", "sni-mismatch"), (None, "sni-missing")])
def test_tls_must_name_the_host_of_connect(
    proxy: Proxy, upstream: Upstream, host: str, name: str | None, rule: str
) -> None:
    before = upstream.connections
    sock, head = proxy.connect(f"{host}:443")
    assert head.startswith(b"HTTP/1.1 200")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with closing(sock), pytest.raises(OSError):
        context.wrap_socket(sock, server_hostname=name)
    assert proxy.event(rule=rule, host=host)["verdict"] == "denied"
    assert upstream.connections == before


@pytest.mark.parametrize(
    "first", [b"SSH-2.0-OpenSSH\r\n", b"GET / HTTP/1.1\r\nHost: tunnel.test\r\n\r\n", b"\x16\x03\x01\xff\xff"]
)
def test_only_tls_goes_through_a_tunnel(proxy: Proxy, upstream: Upstream, first: bytes) -> None:
    before = len(upstream.requests)
    sock, _ = proxy.connect("tunnel.test:443")
    with sock:
        sock.sendall(first)
        assert sock.recv(100) == b""
    assert proxy.event(rule="not-tls", host="tunnel.test")
    assert len(upstream.requests) == before


def test_hello_in_crumbs_and_together_with_connect(proxy: Proxy, end_to_end: ssl.SSLContext) -> None:
    for host, context in (("tunnel.test", end_to_end), ("any.test", proxy.trust)):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname=host)
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        with proxy.raw() as sock:
            sock.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode() + hello[:40])
            for at in range(40, len(hello), 100):
                sock.sendall(hello[at : at + 100])
            data = b""
            while not data.partition(b"\r\n\r\n")[2]:
                data += sock.recv(65536)
            assert data.partition(b"\r\n\r\n")[2][:1] == b"\x16"


def test_hello_that_may_hide_its_name_is_looked_into(proxy: Proxy, upstream: Upstream) -> None:
    before = upstream.connections
    sock, head = proxy.connect("ech.wild.test:443")
    assert head.startswith(b"HTTP/1.1 200")
    with sock:
        sock.sendall(with_extension(hello_bytes("ech.wild.test"), b"\xfe\x0d\0\x01\0"))
        assert sock.recv(1) == b"\x16"
    assert "does it trust the CA" in proxy.event(event="egress-failed", host="ech.wild.test")["reason"]
    assert upstream.connections == before


def test_upstream_down_is_a_502_before_the_tunnel(proxy: Proxy) -> None:
    sock, head = proxy.connect("down-tunnel.test:443")
    sock.close()
    assert head.startswith(b"HTTP/1.1 502")


def test_plain_http_only_where_the_route_says_so(proxy: Proxy, upstream: Upstream) -> None:
    ask = "GET http://{0}/echo?a=b HTTP/1.1\r\nHost: {0}\r\nProxy-Authorization: x\r\nConnection: close\r\n\r\n"
    assert b"200 OK" in proxy.plain(ask.format("plain.test"))
    assert upstream.requests[-1][1] == "/echo?a=b"
    assert "Proxy-Authorization" not in upstream.requests[-1][2]
    for host, rule in (
        ("tunnel.test", "port; use https://tunnel.test, or"),
        ("evil.test", "no-route; %bottle allow demo evil.test"),
        ("localhost", "address"),
        ("10.0.0.1", "ip-"),
    ):
        answer = proxy.plain(ask.format(host))
        assert answer.startswith(b"HTTP/1.1 403")
        assert f"X-Bottle-Denied: {rule}".encode() in answer


def test_credential_is_never_injected_over_plain_http(proxy: Proxy, upstream: Upstream) -> None:
    before = len(upstream.requests)
    answer = proxy.plain("GET http://auth.test/echo HTTP/1.1\r\nHost: auth.test\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403")
    assert len(upstream.requests) == before


def test_connect_to_a_plain_http_route_is_still_judged(proxy: Proxy, upstream: Upstream) -> None:
    sock, head = proxy.connect("plain.test:80")
    assert head.startswith(b"HTTP/1.1 200")
    with sock:
        sock.sendall(b"GET /echo HTTP/1.1\r\nHost: plain.test\r\n\r\n")
        sock.sendall(b"GET /echo HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n")
        data = b"".join(iter(lambda: sock.recv(65536), b""))
        assert data.startswith(b"HTTP/1.1 200 OK")
        assert b"host-mismatch" in data


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\nHost: egress\r\n",
        "GET http://a@plain.test/ HTTP/1.1\r\nHost: plain.test\r\n",
        "GET http://plain.test/ HTTP/1.1\r\nHost: other.test\r\n",
        "GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\nHost: plain.test\r\n",
        "GET http://plain.test/ HTTP/1.1\r\n",
        "GET http://plain.test\n.evil.test/ HTTP/1.1\r\nHost: plain.test\r\n",
        "GET https://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n",
        "GET ftp://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n",
        "GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_odd_requests_never_arrive(proxy: Proxy, upstream: Upstream, head: str) -> None:
    before = len(upstream.requests)
    answer = proxy.plain(head + "Connection: close\r\n\r\n")
    assert answer.split(b" ")[1:2] in ([b"400"], [b"403"])
    assert len(upstream.requests) == before


def test_too_large_headers(proxy: Proxy) -> None:
    answer = proxy.plain(f"GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\nX: {'a' * 70000}\r\n\r\n")
    assert answer.split(b" ")[1] == b"400"


def test_no_routes_reach_nothing(start: Callable[..., Proxy]) -> None:
    gateway = start()
    sock, head = gateway.connect("tunnel.test:443")
    sock.close()
    assert b"X-Bottle-Denied: no-route; %bottle allow more tunnel.test" in head


def test_too_many_connections(start: Callable[..., Proxy], routes: list[RouteConfig]) -> None:
    gateway = start(*routes, limits=GatewayLimits(connections=2))
    held = [gateway.connect("any.test:443")[0] for _ in range(2)]
    with gateway.raw() as third:
        assert third.recv(4096).startswith(b"HTTP/1.1 503")
    for sock in held:
        sock.close()
    assert gateway.event(rule="limit-connections")


def test_a_gateway_takes_no_more_memory_than_a_container_would_give_it(proxy: Proxy) -> None:
    soft, _ = resource.prlimit(proxy.client.pid, resource.RLIMIT_DATA)
    assert 0 < soft <= 512 << 20


def test_idle_tunnel_is_closed(
    start: Callable[..., Proxy], routes: list[RouteConfig], end_to_end: ssl.SSLContext
) -> None:
    gateway = start(*routes, limits=GatewayLimits(idle=0.5))
    with closing(gateway.https("tunnel.test", trust=end_to_end)) as connection:
        assert connection.sock.recv(1) == b""
    assert gateway.event(event="egress-end", error="idle-timeout")


@pytest.mark.parametrize(
    "said", [b"", b"GET http://plain.test/ HTTP/1.1\r\nHost: pl", b"CONNECT any.test:443 HTTP/1.1\r\n"]
)
def test_who_does_not_finish_a_request_is_not_waited_for(
    start: Callable[..., Proxy], routes: list[RouteConfig], said: bytes
) -> None:
    gateway = start(*routes, limits=GatewayLimits(idle=1, connect=1))
    with gateway.raw() as sock:
        sock.sendall(said)
        assert sock.recv(100) == b""


@pytest.mark.parametrize("host", ["any.test", "tunnel.test"])
def test_who_says_nothing_after_connect_is_not_waited_for(
    start: Callable[..., Proxy], routes: list[RouteConfig], host: str
) -> None:
    gateway = start(*routes, limits=GatewayLimits(idle=1, connect=1))
    sock, head = gateway.connect(f"{host}:443")
    with sock:
        assert b"200" in head
        assert sock.recv(100) == b""
    with closing(gateway.https("any.test")) as silent:
        assert silent.sock.recv(100) == b""


@pytest.mark.skipif(not which("curl"), reason="needs curl")
def test_real_curl(proxy: Proxy, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(proxy.client.ca_pem)
    command = ["curl", "-sS", "-m", "20", "--proxy", f"http://127.0.0.1:{proxy.port}", "--cacert", str(ca)]
    done = subprocess.run([*command, "https://auth.test/secretless"], capture_output=True, text=True, check=False)
    assert done.stdout == "fine", done.stderr
    sent = subprocess.run(
        [*command, "-T", "-", "https://any.test/echo"],
        input="x" * 3_000_000,
        capture_output=True,
        text=True,
        check=False,
    )
    assert '"body": 3000000' in sent.stdout, sent.stderr
    refused = subprocess.run([*command, "https://evil.test/"], capture_output=True, text=True, check=False)
    assert "403" in refused.stderr


@pytest.mark.skipif(not which("git"), reason="needs git")
def test_real_git_is_sent_to_the_gate(proxy: Proxy, upstream: Upstream, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(proxy.client.ca_pem)
    before = len(upstream.requests)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_SSL_CAINFO": str(ca), "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "ls-remote", "https://any.test/o/r.git"]
    env["https_proxy"] = f"http://127.0.0.1:{proxy.port}"
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert "403" in done.stderr
    assert proxy.event(rule="git")["path"] == "/o/r.git/info/refs"
    assert len(upstream.requests) == before


_HEADS = st.sampled_from(
    [
        b"CONNECT tunnel.test:443 HTTP/1.1\r\nHost: tunnel.test:443\r\n\r\n",
        b"CONNECT ",
        b"GET http://plain.test/",
        b"\x16\x03\x01",
        b"",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=_HEADS, junk=st.binary(max_size=400))
def test_raw_bytes_never_kill_it_nor_get_through(proxy: Proxy, upstream: Upstream, head: bytes, junk: bytes) -> None:
    before = len(upstream.requests)
    with proxy.raw() as sock:
        sock.sendall(head + junk)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass
    assert proxy.client.alive
    assert len(upstream.requests) == before or head.startswith(b"GET")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    head=st.sampled_from([b"", b"GET / HTTP/1.1\r\nHost: ", b"PRI * HTTP/2.0\r\n\r\nSM"]), junk=st.binary(max_size=300)
)
def test_raw_bytes_inside_tls_never_kill_it(proxy: Proxy, upstream: Upstream, head: bytes, junk: bytes) -> None:
    before = len(upstream.requests)
    with closing(proxy.https("read.test")) as connection:
        connection.sock.sendall(head + junk + b"\r\n\r\n")
        connection.sock.settimeout(0.05)
        with suppress(OSError):
            while connection.sock.recv(65536):
                pass
    assert proxy.client.alive
    assert len(upstream.requests) == before


def test_many_at_once(proxy: Proxy) -> None:
    statuses: list[int] = []

    def work() -> None:
        statuses.extend(proxy.get("auth.test", "/secretless")[0].status for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 40
