"""Requests that the gateway looks into, with real sockets and TLS."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bb_jupyter.policy.routes import RouteConfig
from tests.integration.gateway.conftest import TOKEN, Proxy
from tests.integration.gateway.upstream import Upstream


def test_bearer_is_injected_and_the_clients_own_credentials_are_not(proxy: Proxy, upstream: Upstream) -> None:
    own = {"Authorization": "Bearer mine", "X-Api-Key": "mine", "Cookie": "a=mine", "Proxy-Authorization": "mine"}
    answer, body = proxy.get("auth.test", "/echo?x=1", headers=own)
    assert answer.status == 200
    method, target, headers = upstream.requests[-1]
    assert (method, target, headers["Authorization"]) == ("GET", "/echo?x=1", f"Bearer {TOKEN}")
    assert "mine" not in json.dumps(headers)
    assert headers["Host"] == "auth.test"
    assert TOKEN not in body.decode()
    assert proxy.event(event="egress", host="auth.test", path="/echo")["injected"] is True


def test_basic_and_named_header(proxy: Proxy, upstream: Upstream) -> None:
    proxy.get("basic.test", "/echo")
    assert upstream.requests[-1][2]["Authorization"] == "Basic " + base64.b64encode(f"me:{TOKEN}".encode()).decode()
    proxy.get("key.test", "/echo", headers={"x-api-key": "mine", "Authorization": "mine"})
    assert upstream.requests[-1][2]["X-Api-Key"] == TOKEN
    assert "Authorization" not in upstream.requests[-1][2]


def test_connection_header_cannot_remove_the_injected_credential(proxy: Proxy, upstream: Upstream) -> None:
    proxy.get("auth.test", "/echo", headers={"Connection": "authorization, x-drop", "X-Drop": "1"})
    headers = upstream.requests[-1][2]
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert "X-Drop" not in headers


@pytest.mark.parametrize("host", ["auth.test", "xn--bcher-kva.test"])
def test_reflected_credential_is_masked_in_every_form(proxy: Proxy, host: str) -> None:
    answer, body = proxy.get(host, "/reflect")
    assert answer.status == 200
    assert len(body) == int(answer.headers["Content-Length"])
    assert TOKEN not in answer.headers["X-Echo"]
    for line in body.split(b"\n"):
        assert line.count(b"*") >= len(TOKEN), line
        assert len(line.replace(b"*", b"")) <= 10, line
    for form in (TOKEN.encode(), base64.b64encode(TOKEN.encode()), TOKEN.encode().hex().encode()):
        assert form not in body


def test_answer_compressed_against_the_request_is_decoded_and_masked(proxy: Proxy, upstream: Upstream) -> None:
    answer, body = proxy.get("auth.test", "/gzip", headers={"Accept-Encoding": "gzip", "Range": "bytes=0-3"})
    assert upstream.requests[-1][2]["Accept-Encoding"] == "identity"
    assert "Range" not in upstream.requests[-1][2]
    assert answer.status == 200
    assert TOKEN.encode() not in body
    assert b"Bearer ****" in body


@pytest.mark.parametrize("target", ["/twice", "/packed"])
def test_an_answer_that_may_be_read_in_two_ways_is_not_passed_on(proxy: Proxy, target: str) -> None:
    answer, body = proxy.get("auth.test", target)
    assert answer.status == 502
    assert b"encoding" in body


def test_nothing_is_sent_on_that_could_mean_another_host_or_length(proxy: Proxy, upstream: Upstream) -> None:
    told = {"Forwarded": "host=evil", "X-Forwarded-Host": "evil", "x_forwarded_prefix": "/evil", "Content_Length": "0"}
    assert proxy.get("any.test", "/echo", "POST", body=b"1234", headers=told)[0].status == 200
    headers = upstream.requests[-1][2]
    assert headers["Content-Length"] == "4"
    assert not {name.title().replace("_", "-") for name in told} & {*headers} - {"Content-Length"}


def test_what_a_host_shows_of_its_credential_is_masked_on_its_other_routes(
    start: Callable[..., Proxy], routes: list[RouteConfig], upstream: Upstream
) -> None:
    """An agent that may read a log of requests, say, without a credential."""
    auth = next(route for route in routes if route.host == "auth.test")
    gateway = start(replace(auth, paths=("/echo",)), replace(auth, auth=None, methods=("GET",)))
    own = {"Authorization": f"Bearer {TOKEN}", "Range": "bytes=0-9", "Accept-Encoding": "gzip", "Cookie": "a=b"}
    answer, body = gateway.get("auth.test", "/reflect", headers=own)
    assert TOKEN.encode() not in body and TOKEN not in answer.headers["X-Echo"]
    headers = upstream.requests[-1][2]
    assert (headers["Cookie"], headers["Accept-Encoding"], headers.get("Range")) == ("a=b", "identity", None)
    assert TOKEN.encode() not in gateway.get("auth.test", "/gzip", headers=own)[1]
    assert gateway.get("auth.test", "/cookie")[0].headers["Set-Cookie"] == "session=1234"


def test_no_new_credential_comes_back_where_one_is_put_in(proxy: Proxy) -> None:
    answer, body = proxy.get("auth.test", "/cookie")
    assert (body, answer.headers["Set-Cookie"]) == (b"fine", None)
    assert proxy.get("any.test", "/cookie")[0].headers["Set-Cookie"] == "session=1234"


@pytest.mark.parametrize("host", ["auth.test", "any.test"])
def test_a_server_cannot_change_the_protocol(proxy: Proxy, host: str) -> None:
    answer, body = proxy.get(host, "/switch")
    assert answer.status == 502
    assert b"nobody asked for" in body


def test_without_a_credential_nothing_is_decoded(proxy: Proxy, upstream: Upstream) -> None:
    answer, body = proxy.get("any.test", "/gzip", headers={"Accept-Encoding": "gzip", "Authorization": "own"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert body[:2] == b"\x1f\x8b"
    assert upstream.requests[-1][2]["Authorization"] == "own"


@pytest.mark.parametrize(
    ("host", "method", "target", "rule"),
    [
        ("read.test", "POST", "/echo", "method"),
        ("read.test", "TRACE", "/echo", "method"),
        ("read.test", "GET", "/echo?x=1&_method=delete", "method"),
        ("read.test", "GET", "/echo?x;%20.Method=DELETE", "method"),
        ("read.test", "get", "/echo", None),
        ("paths.test", "GET", "/apix", "path"),
        ("paths.test", "GET", "/api/../secret", "path-ambiguous"),
        ("paths.test", "GET", "/api/%2e%2e/secret", "path-ambiguous"),
        ("paths.test", "GET", "/api/..%2fsecret", "path-ambiguous"),
        ("paths.test", "GET", "/api//secret", "path-ambiguous"),
        ("paths.test", "GET", "/api/./x", "path-ambiguous"),
        ("paths.test", "GET", "/repos/a/b/issues", "path"),
        ("read.test", "GET", "https://evil.test/", "request-form"),
        ("any.test", "GET", "/o/r.git/info/refs?service=git-upload-pack", "git"),
        ("any.test", "POST", "/o/r.git/git-receive-pack", "git"),
        ("any.test", "POST", "/o/r.git/%67it-receive-pack", "git"),
    ],
)
def test_denied_requests_name_their_rule_and_never_arrive(
    proxy: Proxy, upstream: Upstream, host: str, method: str, target: str, rule: str | None
) -> None:
    before = len(upstream.requests)
    answer, body = proxy.get(host, target, method)
    assert len(upstream.requests) == before
    if rule is None:  # not a method that aiohttp's parser knows
        assert answer.status == 400
        return
    assert answer.status in (400, 403)
    assert answer.headers["X-Bottle-Denied"].split(";")[0] == rule
    assert rule in body.decode()
    assert proxy.event(verdict="denied", rule=rule)["host"] == host


@pytest.mark.parametrize("target", ["/api", "/api/x?y=/../", "/api/%41b", "/repos/a/issues", "/pub/a/b/c"])
def test_allowed_paths_pass_as_they_were_sent(proxy: Proxy, upstream: Upstream, target: str) -> None:
    answer, _ = proxy.get("paths.test", target)
    assert answer.status == 200
    assert upstream.requests[-1][1] == target


def test_unrestricted_path_passes_untouched(proxy: Proxy, upstream: Upstream) -> None:
    proxy.get("any.test", "/@scope%2fname//x/./%2e%2e/y?q=%20&r")
    assert upstream.requests[-1][1] == "/@scope%2fname//x/./%2e%2e/y?q=%20&r"


def test_a_parameter_may_ask_for_a_method_that_is_allowed(proxy: Proxy, upstream: Upstream) -> None:
    answer, _ = proxy.get("read.test", "/echo?_method=HEAD&method=DELETE")
    assert (answer.status, upstream.requests[-1][1]) == (200, "/echo?_method=HEAD&method=DELETE")


def test_each_request_on_a_connection_is_judged_by_itself(proxy: Proxy, upstream: Upstream) -> None:
    with closing(proxy.https("read.test")) as connection:
        statuses = []
        for method, host in (("GET", "read.test"), ("POST", "read.test"), ("GET", "evil.test"), ("GET", "read.test")):
            connection.request(method, "/echo", headers={"Host": host})
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
            same = connection.sock
        assert statuses == [200, 403, 403, 200]
        assert same is connection.sock
    assert proxy.event(rule="host-mismatch")["host"] == "read.test"


def test_events_pass_chunk_by_chunk(proxy: Proxy, upstream: Upstream) -> None:
    upstream.go_on.clear()
    with closing(proxy.https("auth.test")) as connection:
        connection.request("GET", "/sse")
        answer = connection.getresponse()
        assert answer.read1(1000) == b"data: first\n\n"
        upstream.go_on.set()
        assert answer.read() == b"data: second\n\n"


def test_large_bodies_both_ways(proxy: Proxy) -> None:
    size = 24 * 1024 * 1024
    _, body = proxy.get("any.test", f"/big/{size}")
    assert len(body) == size
    _, body = proxy.get("any.test", "/echo", "PUT", body=bytes(size))
    assert json.loads(body)["body"] == size
    _, body = proxy.get("any.test", "/echo", "POST", body=iter([b"x" * 1000] * 100), encode_chunked=True)
    assert json.loads(body)["body"] == 100_000
    end = proxy.event(event="egress-end", host="any.test", up=size)
    assert end["status"] == 200


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_is_flat(proxy: Proxy) -> None:
    def peak() -> int:
        status = Path(f"/proc/{proxy.client._process.pid}/status").read_text()  # type: ignore[union-attr]
        return int(status.partition("VmHWM:")[2].split()[0])

    proxy.get("any.test", "/big/1000000")
    before, size = peak(), 96 * 1024 * 1024
    with closing(proxy.https("auth.test")) as connection:
        connection.request("GET", f"/big/{size}")
        answer = connection.getresponse()
        while answer.read(1 << 20):
            pass
    blocks = (bytes(1 << 20) for _ in range(96))
    _, body = proxy.get("any.test", "/echo", "PUT", body=blocks, headers={"Content-Length": str(size)})
    assert json.loads(body)["body"] == size
    assert peak() - before < 32 * 1024


def test_expect_continue_and_empty_answers(proxy: Proxy) -> None:
    answer, body = proxy.get("any.test", "/echo", "POST", body=b"abc", headers={"Expect": "100-continue"})
    assert json.loads(body)["body"] == 3
    for status in (204, 304, 404):
        answer, body = proxy.get("any.test", f"/status/{status}")
        assert answer.status == status
    answer, body = proxy.get("any.test", "/big/1000", "HEAD")
    assert answer.status == 200, proxy.event(event="egress-failed")
    assert (answer.headers["Content-Length"], body) == ("1000", b"")


@pytest.mark.parametrize("host", ["auth.test", "xn--bcher-kva.test"])
def test_websocket_is_bridged_and_masked(proxy: Proxy, host: str) -> None:
    key = base64.b64encode(b"0" * 16).decode()
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    with closing(proxy.https(host)) as connection:
        connection.request("GET", "/ws", headers={**upgrade, "Sec-WebSocket-Protocol": "chat"})
        answer = connection.response_class(connection.sock, method="GET")
        answer.begin()
        assert (answer.status, answer.headers["Sec-WebSocket-Protocol"]) == (101, "chat")
        greeting = answer.fp.read(2 + len("hello Bearer ") + len(TOKEN))
        assert greeting[2:] == b"hello Bearer " + b"*" * len(TOKEN)
        connection.sock.sendall(b"\x81\x82\0\0\0\0hi")
        assert answer.fp.read(9) == b"\x81\x07echo hi"


def test_redirects_are_the_clients_to_follow(proxy: Proxy, upstream: Upstream) -> None:
    before = len(upstream.requests)
    answer, _ = proxy.get("auth.test", "/moved")
    assert (answer.status, answer.headers["Location"]) == (302, "https://elsewhere.test/secretless")
    key = base64.b64encode(b"0" * 16).decode()
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    answer, _ = proxy.get("auth.test", "/moved", headers=upgrade)
    assert answer.status == 502
    assert [target for _, target, _ in upstream.requests[before:]] == ["/moved", "/moved"]


def test_upstream_with_an_invalid_certificate_is_a_502_that_says_so(proxy: Proxy, upstream: Upstream) -> None:
    before = len(upstream.requests)
    answer, body = proxy.get("wrong.test", "/")
    assert answer.status == 502
    assert "wrong.test" in body.decode()
    assert "certificate" in body.decode()
    assert len(upstream.requests) == before


def test_upstream_that_is_down_is_a_502(proxy: Proxy) -> None:
    answer, body = proxy.get("down.test", "/")
    assert answer.status == 502
    assert "down.test:443" in body.decode()
    assert proxy.event(event="egress-failed", host="down.test")


def test_no_secret_in_any_event(proxy: Proxy) -> None:
    proxy.get("auth.test", f"/echo/{TOKEN}")
    proxy.event(event="egress-end", host="auth.test")
    assert TOKEN not in json.dumps(proxy.events)
