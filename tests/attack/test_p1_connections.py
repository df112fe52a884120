"""P1: what happens on one connection: TLS names, later requests, upgrades, HTTP/2."""

from __future__ import annotations

import json

import pytest

from bb_jupyter.selftest.proxy import client_hello, connect, get
from tests.attack.conftest import Walled

# Requests on one intercepted TLS connection; prints status and rule of each, and the ALPN that was agreed on.
_REQUESTS = """
import json, os, socket, ssl, sys
host, offered, requests = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
raw = socket.create_connection(("egress", 3128), timeout=20)
raw.sendall(f"CONNECT {host}:443 HTTP/1.1\\r\\nHost: {host}:443\\r\\n\\r\\n".encode())
assert raw.recv(4096).startswith(b"HTTP/1.1 200"), "CONNECT"
context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
if offered:
    context.set_alpn_protocols(offered)
tls = context.wrap_socket(raw, server_hostname=host)
found, file = [], tls.makefile("rb")
for words in requests:
    tls.sendall(words.encode("latin-1"))
    line = file.readline()
    status, rule, length = int((line.split() or [0, 0])[1]), "", 0
    while line not in (b"\\r\\n", b""):
        line = file.readline()
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "x-bottle-denied":
            rule = value.split(";")[0].strip()
        if name.lower() == "content-length":
            length = int(value)
    file.read(length)
    found.append([status, rule])
print(json.dumps([tls.selected_alpn_protocol(), found]))
"""


def _requests(walled: Walled, host: str, *requests: str, offered: tuple[str, ...] = ()) -> tuple[object, list[object]]:
    done = walled.python(_REQUESTS, host, json.dumps(offered), json.dumps(requests))
    assert done.returncode == 0, done.stderr.decode()
    alpn, found = json.loads(done.stdout)
    return alpn, found


def _request(host: str, path: str = "/echo", method: str = "GET", headers: str = "") -> str:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"


@pytest.mark.parametrize("host", ["ok.test", "read.test", "secret.test", "a.wild.test"])
@pytest.mark.parametrize(
    "hello",
    [client_hello("other.test"), client_hello(None), client_hello("ok.test.other.test"), b"GET / HTTP/1.1\r\n\r\n"],
    ids=["other-name", "no-name", "longer-name", "no-tls"],
)
def test_a_tls_name_that_is_not_the_one_of_connect_ends_the_connection(walled: Walled, host: str, hello: bytes) -> None:
    before = len(walled.service.requests), len(walled.service.hellos)
    outcome = walled.probe.dial([walled.probe.proxied(connect(f"{host}:443"), hello)])[0]
    assert outcome.answers[0].startswith(b"HTTP/1.1 200"), outcome
    assert outcome.answers[1:] in ((), (b"",), (b"\x15\x03\x03\x00\x02\x02\x70",)), outcome  # an alert, or nothing
    assert outcome.seconds < 10  # at once, not when something times out
    assert (len(walled.service.requests), len(walled.service.hellos)) == before


def test_the_right_tls_name_goes_through(walled: Walled) -> None:
    before = len(walled.service.hellos)
    hello = client_hello("ok.test")
    outcome = walled.probe.dial([walled.probe.proxied(connect("ok.test:443"), hello)])[0]
    assert outcome.answers[0].startswith(b"HTTP/1.1 200")
    assert walled.service.hellos[before:] == ["ok.test"]


def test_each_request_of_a_kept_connection_is_judged(walled: Walled) -> None:
    before = len(walled.service.requests)
    alpn, found = _requests(
        walled,
        "read.test",
        _request("read.test", "/one"),
        _request("read.test", "/two", "POST", "Content-Length: 0\r\n"),
        _request("other.test", "/three"),
        _request("ok.test", "/four"),
        _request("read.test:8443", "/five"),
        _request("read.test", "https://other.test/six"),
        _request("read.test", "/seven"),
    )
    rules = ["", "method", "host-mismatch", "host-mismatch", "host-mismatch", "request-form", ""]
    assert [rule for _, rule in found] == rules  # type: ignore[misc]
    assert [arrived.target for arrived in walled.service.requests[before:]] == ["/one", "/seven"]
    assert alpn is None


def test_each_plain_request_of_a_kept_connection_is_judged(walled: Walled) -> None:
    before = len(walled.service.requests)
    first, last = get("plain.test", "/first", keep=True), get("plain.test", "/last", keep=True)
    asked = (first, get("other.test", "/x", keep=True), get("plain.test", "/y", host="ok.test", keep=True), last)
    outcome = walled.probe.dial([walled.probe.proxied(*asked)])[0]
    assert [answer[9:12] for answer in outcome.answers] == [b"200", b"403", b"403", b"200"]
    assert [arrived.target for arrived in walled.service.requests[before:]] == ["/first", "/last"]


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "TLS/1.0", "connect-udp"])
def test_an_upgrade_opens_nothing(walled: Walled, upgrade: str) -> None:
    headers = f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    before = len(walled.service.requests)
    _, found = _requests(walled, "paths.test", _request("paths.test", "/private", headers=headers))
    assert found == [[403, "path"]]
    assert len(walled.service.requests) == before
    _, found = _requests(
        walled,
        "paths.test",
        _request("paths.test", "/api/x", headers="Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        _request("paths.test", "/private"),
    )
    assert found == [[200, ""], [403, "path"]]


def test_http2_is_not_agreed_on_where_requests_are_judged(walled: Walled) -> None:
    alpn, found = _requests(walled, "read.test", _request("read.test"), offered=("h2", "http/1.1"))
    assert (alpn, found) == ("http/1.1", [[200, ""]])
    done = walled.curl("--http2", "https://read.test/echo")
    assert done.stdout.endswith(b"\n200"), done


@pytest.mark.parametrize("preface", ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\0\4\0\0\0\0\0"])
def test_http2_without_asking_is_refused(walled: Walled, preface: str) -> None:
    before = len(walled.service.requests)
    outcome = walled.probe.dial([walled.probe.proxied(preface.encode())])[0]
    assert outcome.status in (0, 400)
    _, found = _requests(walled, "read.test", preface)
    assert found in ([[400, ""]], [[0, ""]])
    assert len(walled.service.requests) == before


def test_a_redirect_is_not_followed_by_the_gateway(walled: Walled) -> None:
    done = walled.curl("https://read.test/moved")
    assert done.stdout.endswith(b"\n302"), done
    followed = walled.curl("-L", "https://read.test/moved")
    assert followed.returncode != 0
    assert b"403" in followed.stderr + followed.stdout


@pytest.mark.parametrize(
    "smuggled",
    [
        "POST /echo HTTP/1.1\r\nHost: post.test\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: post.test\r\nTransfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: post.test\r\nContent-Length: 0\r\nContent-Length: 30\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: post.test\r\nHost: other.test\r\nContent-Length: 0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost : post.test\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["cl-te", "odd-te", "two-cl", "two-hosts", "space-before-colon"],
)
def test_a_request_that_two_readers_would_split_differently_is_refused(walled: Walled, smuggled: str) -> None:
    before = len(walled.service.requests)
    _, found = _requests(walled, "post.test", smuggled)
    assert found[0][0] in (0, 400, 403)  # type: ignore[index]
    assert len(walled.service.requests) == before


@pytest.mark.parametrize(
    ("host", "headers", "rule"),
    [
        ("post.test", "X-HTTP-Method-Override: DELETE", "method"),
        ("post.test", "x_http_method_override: delete", "method"),
        ("post.test", "X-Method-Override: POST\r\nX-HTTP-Method: PUT", "method"),
        ("paths.test", "X-Original-URL: /private", "path"),
        ("paths.test", "X_Rewrite_Url: /private", "path"),
        ("paths.test", "Destination: https://paths.test/private", "path"),
        ("paths.test", "X-Goog-Copy-Source: /private", "path"),
        ("post.test", "X-HTTP-Method-Override: GET", ""),
        ("post.test", "X-Original-URL: /private", ""),
        ("paths.test", "X-HTTP-Method-Override: DELETE", ""),
    ],
)
def test_fields_that_make_another_request_of_it_are_judged(walled: Walled, host: str, headers: str, rule: str) -> None:
    before = len(walled.service.requests)
    asked = _request(host, "/api/x", "POST", f"{headers}\r\nContent-Length: 0\r\n")
    _, found = _requests(walled, host, asked)
    assert found == [[403, rule] if rule else [200, ""]]
    assert len(walled.service.requests) - before == int(not rule)


def test_a_body_that_a_server_may_not_expect_is_the_last_of_its_connection(walled: Walled) -> None:
    """A server that ignores it takes it for a request, which nobody judged."""
    hidden = _request("paths.test", "/private")
    for method, says in (("GET", "close"), ("DELETE", "close"), ("POST", None)):
        body = f"Content-Length: {len(hidden)}\r\n"
        _, found = _requests(walled, "paths.test", _request("paths.test", "/api", method, body) + hidden)
        assert found == [[200, ""]]
        arrived = walled.service.requests[-1]
        assert (arrived.target, arrived.headers.get("Connection")) == ("/api", says)
