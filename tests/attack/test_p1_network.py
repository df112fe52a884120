"""P1: no network but the gateway; default deny."""

from __future__ import annotations

import platform

import pytest

from bb_jupyter import manifest, selftest
from bb_jupyter.core.session import Session
from bb_jupyter.errors import ManifestError, UsageError
from bb_jupyter.selftest import Canary, Probe
from bb_jupyter.selftest.probe import Attempt
from bb_jupyter.selftest.proxy import connect, get
from tests.attack.conftest import Walled, first_output, yaml_of
from tests.attack.service import Service
from tests.contract.conftest import Launch, out, sh


def test_every_promise_holds_with_routes(walled: Walled) -> None:
    verdicts = selftest.selftest(walled.handle)
    assert [str(verdict) for verdict in verdicts if verdict.ok is not True] == []


@pytest.mark.parametrize(
    "text",
    ["egress: {routes: []}", "egress: {routes: }", "egress:", "egress: {}", "", None],
    ids=["empty", "null", "no-egress", "no-routes", "blank", "no-manifest"],
)
def test_no_route_is_no_network(launch: Launch, bottle_name: str, text: str | None) -> None:
    if text is not None:
        manifest.define_bottle(bottle_name, text)
    handle = launch(bottle=bottle_name if text is not None else "")
    assert handle.bottle.network.state == "none"
    checks = [check for check in selftest.CHECKS if check.__module__.endswith((".network", ".proxy"))]
    verdicts = selftest.selftest(handle, checks=checks)
    assert [str(verdict) for verdict in verdicts if verdict.ok is False] == []
    assert [verdict.promise for verdict in verdicts if verdict.ok is None] == ["P1.tls-names"]


def test_a_host_that_is_allowed_later_opens_that_host_alone(launch: Launch, service: Service) -> None:
    handle = launch()
    handle.allow("ok.test")
    assert handle.bottle.network.state == "open"
    verdicts = selftest.selftest(handle, checks=[selftest.network.raw_sockets, selftest.proxy.unlisted_hosts])
    assert [str(verdict) for verdict in verdicts if verdict.ok is not True] == []


def test_listed_hosts_are_reached(walled: Walled) -> None:
    for done in (
        walled.end_to_end("https://ok.test/echo"),
        walled.end_to_end("https://a.b.wild.test/echo"),
        walled.end_to_end("https://OK.test./echo"),
        walled.curl("https://read.test/echo"),
        walled.curl("http://plain.test/echo"),
        walled.curl("--proxytunnel", "http://plain.test/echo"),
    ):
        assert done.stdout.endswith(b"\n200"), done
        assert b"service" in done.stdout


@pytest.mark.parametrize("form", ["connect", "absolute", "plain"])
def test_a_host_that_is_not_listed_gets_the_same_answer_in_every_form(walled: Walled, form: str) -> None:
    asked = {
        "connect": connect("other.test:443"),
        "absolute": get("other.test", "/x"),
        "plain": b"POST http://other.test/x HTTP/1.1\r\nHost: other.test\r\nContent-Length: 2\r\n\r\nhi",
    }[form]
    outcome = walled.probe.dial([walled.probe.proxied(asked)])[0]
    assert (outcome.status, outcome.rule) == (403, "no-route")
    body = outcome.answers[0].partition(b"\r\n\r\n")[2].decode()
    name = walled.handle.name
    assert body == (
        f"bottle: denied (no-route): other.test is not in this bottle's routes\n%bottle allow {name} other.test\n"
    )
    assert outcome.seconds < 10  # at once, not when something times out


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        (connect("wild.test:443"), "no-route"),
        (connect("notok.test:443"), "no-route"),
        (connect("ok.test.evil.test:443"), "no-route"),
        (connect("evilwild.test:443"), "no-route"),
        (connect("a.ok.test:443"), "no-route"),
        (connect("ok.test:8443"), "port"),
        (connect("ok.test:80"), "port"),
        (connect("ok.test:22"), "port"),
        (connect("OK.TEST.:22"), "port"),
        (get("ok.test"), "port"),
        (get("ok.test:443"), "scheme"),
        (connect("plain.test:443"), "port"),
        (connect("169-254-169-254.nip.io:80"), "no-route"),
        (connect("localhost:443"), "address"),
        (connect("ok.test:443", host="other.test"), "host-mismatch"),
        (get("plain.test", host="ok.test"), "host-mismatch"),
        (get("plain.test").replace(b"GET", b"TRACE", 1), "method"),
        (connect("read.test\r\nX-Other: 1:443"), ""),
    ],
)
def test_what_is_not_listed_is_refused_by_its_rule(walled: Walled, asked: bytes, rule: str) -> None:
    before = len(walled.service.requests), len(walled.service.hellos)
    outcome = walled.probe.dial([walled.probe.proxied(asked)])[0]
    assert outcome.status in (400, 403), outcome
    assert outcome.rule == rule or not rule
    assert outcome.seconds < 10  # at once, not when something times out
    assert (len(walled.service.requests), len(walled.service.hellos)) == before


@pytest.mark.parametrize("form", ["connect", "plain"])
def test_a_listed_name_that_means_this_host_is_not_dialled(walled: Walled, form: str) -> None:
    authority = f"localhost:{walled.canary.port}"
    asked = get(authority, f"/{walled.canary.token}") if form == "plain" else connect(authority)
    outcome = walled.probe.dial([walled.probe.proxied(asked)])[0]
    assert (outcome.status, outcome.rule) == (403, "address")
    assert walled.canary.heard() == []


@pytest.mark.parametrize("host", ["*", "*.com", "*.co.uk", "127.0.0.1", "https://ok.test/", "169.254.169.254"])
def test_a_pattern_that_is_too_wide_is_refused_before_anything_starts(
    session: Session, launch: Launch, bottle_name: str, host: str
) -> None:
    with pytest.raises(ManifestError, match=r"routes\[0\].host"):
        manifest.define_bottle(bottle_name, yaml_of({"host": host}))
    with pytest.raises(UsageError, match="cannot allow"):
        launch(allow=(host,))
    assert session.handles() == []


def test_no_metadata_service_even_when_it_is_listed(bottle_name: str) -> None:
    for address in ("169.254.169.254", "[fd00:ec2::254]:80", "100.100.100.200", "168.63.129.16", "::ffff:a9fe:a9fe"):
        with pytest.raises(ManifestError, match="never reachable"):
            manifest.define_bottle(bottle_name, yaml_of({"host": "ok.test", "resolve": address}))
    with pytest.raises(ManifestError, match="never reachable"):
        manifest.define_bottle(bottle_name, yaml_of({"host": "metadata.google.internal"}))


def test_programs_that_ignore_the_proxy_fail_at_once(walled: Walled) -> None:
    """A stock agent clears the variables; whatever it then does ends within seconds."""
    clear = "unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy;"
    for command in (
        "curl -sS --max-time 20 https://ok.test/",
        "curl -sS --max-time 20 http://plain.test/",
        f"curl -sS --max-time 20 http://{walled.service.address}:{walled.service.plain_port}/",
        f"curl -sS --max-time 20 --socks5-hostname {walled.service.address}:1080 https://ok.test/",
        "getent hosts ok.test",
    ):
        done = sh(walled.handle, f"{clear} {command}", timeout=15)
        assert done.returncode not in (0, 124), (command, done)
    for tool in ("dig @8.8.8.8 ok.test", "ping -c 1 -W 2 203.0.113.1", "nc -z -w 2 203.0.113.1 80"):
        done = sh(walled.handle, f"command -v {tool.split()[0]} >/dev/null || exit 9; {tool}", timeout=20)
        assert done.returncode != 0, (tool, done)


_SERVE = """
import socket, threading
server = socket.create_server(("0.0.0.0", 0))
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\\0bb-neighbour")
abstract.listen()
print(server.getsockname()[1], flush=True)
threading.Event().wait()
"""


def test_another_bottle_cannot_be_reached(launch: Launch, bottle_name: str, canary: Canary) -> None:
    one, two = launch(allow=("ok.test",)), launch(f"{bottle_name}b", allow=("ok.test",))
    with one.exec(["python3", "-u", "-c", _SERVE]) as serving:
        port = int(first_output(serving))
        addresses = ["127.0.0.1", "::1", *out(one, "hostname -I 2>/dev/null || :").split()]
        attempts = [Attempt("tcp", address, port, (b"x",), 1.0) for address in addresses]
        attempts += [Attempt("unix", "bb-neighbour", 0, (b"x",), 1.0)]
        assert [outcome.error for outcome in Probe(one, canary).dial(attempts[:1])] == ["timeout"]  # it does listen
        Probe(two, canary).blocked(attempts)


_CALL_OF_32_BITS = r"""
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
print("called", ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="only here a process can make calls of 32 bits")
def test_calls_of_32_bits_do_not_slip_past_the_filter(walled: Walled) -> None:
    """`socketcall` would hide the address family, AF_VSOCK among them (moby #53551)."""
    done = walled.python(_CALL_OF_32_BITS)
    assert done.returncode != 0
    assert b"called" not in done.stdout
