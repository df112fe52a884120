from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bb_jupyter.manifest.egress_model import route_host
from bb_jupyter.policy.addresses import parse_resolve


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("docs.python.org", "docs.python.org"),
        ("Docs.Python.ORG", "docs.python.org"),
        ("docs.python.org.", "docs.python.org"),
        ("*.Python.org", "*.python.org"),
        ("*.example.co.uk", "*.example.co.uk"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("ＥＸＡＭＰＬＥ.com", "example.com"),
        ("my_service.internal", "my_service.internal"),
        ("service", "service"),
    ],
)
def test_hosts_are_normalised(text: str, host: str) -> None:
    assert route_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        "*",
        "*.",
        "*.com",
        "*.co.uk",
        "*.*.example.com",
        "a.*.example.com",
        "*example.com",
        "**.example.com",
        "*.127.0.0.1",
        "ok.com@evil.test",
        "evil.test\0.ok.com",
        "evil.test%00.ok.com",
        "ok.com\n",
        "ok.com\r\nX: y",
        " ok.com",
        "ok com",
        "ok.com\\evil.test",
        "ok.com?x",
        "ok.com#x",
        "-a.com",
        "a-.com",
        "a" * 64 + ".com",
        "a." * 127 + "com",
        "xn--a.com",
        "℀.com",
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "１２７.0.0.1",
        "::1",
        "[::1]",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "169.254.169.254",
        "metadata.google.internal",
        "METADATA.google.internal.",
    ],
)
def test_what_is_no_host_of_a_route_is_refused(text: str) -> None:
    with pytest.raises(ValueError) as refused:
        route_host(text)
    assert str(refused.value).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("https://docs.python.org/3/", "Write host: docs.python.org"),
        ("http://docs.python.org", "Write host: docs.python.org, scheme: http"),
        ("https://Example.com:8443/x", "Write host: example.com, port: 8443"),
        ("example.com:8443", "Write host: example.com, port: 8443"),
        ("example.com/path", "Write host: example.com"),
        ("10.0.0.5", "Give a name, and the address as resolve: ADDR"),
    ],
)
def test_the_message_says_what_to_write(text: str, suggestion: str) -> None:
    with pytest.raises(ValueError) as refused:
        route_host(text)
    assert str(refused.value).splitlines()[1] == suggestion


def test_a_user_part_is_never_suggested() -> None:
    with pytest.raises(ValueError) as refused:
        route_host("https://ok.com@evil.test/")
    assert "Write" not in str(refused.value)


@given(st.text(max_size=40) | st.text("aA1.*-_:@/[]%\\xn\u3002\uff11\u00df", max_size=30))
def test_a_normalised_host_is_plain_and_stays_as_it_is(text: str) -> None:
    try:
        host = route_host(text)
    except ValueError:
        return
    assert host.isascii() and host == host.lower() and not host.endswith(".")
    assert set(host.removeprefix("*.")) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert route_host(host) == host


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("10.0.0.5", "10.0.0.5", None),
        ("127.0.0.1:8443", "127.0.0.1", 8443),
        ("::1", "::1", None),
        ("[::1]", "::1", None),
        ("[FD00::5]:443", "fd00::5", 443),
    ],
)
def test_resolve_addresses(text: str, address: str, port: int | None) -> None:
    assert parse_resolve(text) == (ipaddress.ip_address(address), port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "10.0.0",
        "10.0.0.256",
        "010.0.0.1",
        "10.0.0.5:0",
        "10.0.0.5:65536",
        "10.0.0.5:",
        "10.0.0.5\n",
        "[::1",
        "[::1%lo]",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "169.254.169.254",
        "169.254.0.1:80",
        "[fe80::1]:80",
        "[fd00:ec2::254]:80",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "100.100.100.200",
        "168.63.129.16",
    ],
)
def test_resolve_refuses_what_no_route_may_reach(text: str) -> None:
    with pytest.raises(ValueError):
        parse_resolve(text)
