"""The pure matcher: names, paths, routes."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bb_jupyter.errors import ManifestError
from bb_jupyter.gateway.control.gateway_config import GatewayConfig
from bb_jupyter.policy import Denied
from bb_jupyter.policy.addresses import is_public, parse_resolve
from bb_jupyter.policy.hosts import normalise_host, normalise_pattern, parse_authority, specificity
from bb_jupyter.policy.matcher import Policy
from bb_jupyter.policy.paths import canonical_path, is_git, path_matches
from bb_jupyter.policy.routes import AuthConfig, RouteConfig

OK = Policy((RouteConfig("ok.com"), RouteConfig("*.sub.com"), RouteConfig("ro.com", methods=("GET",), paths=("/a",))))


@pytest.mark.parametrize(
    "raw",
    ["", ".", "a..b", "evil\0.ok.com", "ok.com\n", "ok.com/", "ok.com@evil", "a b.com", "ök.com", "-a.com", "a" * 254],
)
def test_malformed_names(raw: str) -> None:
    with pytest.raises(Denied, match="host-invalid"):
        normalise_host(raw)


@pytest.mark.parametrize(
    "raw",
    ["1.2.3.4", "2130706433", "0x7f000001", "0177.0.0.1", "1.2.3.0x4", "::1", "[::1]", "fe80::1%eth0", "1.2.3.4."],
)
def test_addresses_in_any_notation(raw: str) -> None:
    with pytest.raises(Denied, match="ip-literal"):
        parse_authority(raw, 443)


def test_canonical_names() -> None:
    assert normalise_host("WWW.Example.COM.") == "www.example.com"
    assert parse_authority("xn--bcher-kva.example:8443", None) == ("xn--bcher-kva.example", 8443)
    assert normalise_pattern("*.Ok.Com") == "*.ok.com"
    for bad in ("*", "*.com", "*ok.com", "a.*.com", "*.", "**.ok.com"):
        with pytest.raises(Denied):
            normalise_pattern(bad)


def test_wildcards_and_their_order() -> None:
    assert specificity("*.ok.com", "ok.com") == specificity("*.ok.com", "notok.com") == 0
    narrow = RouteConfig("api.a.com", methods=("GET",))
    policy = Policy((RouteConfig("*.a.com"), narrow, RouteConfig("*.b.a.com", port=8443)))
    assert policy.candidates("api.a.com", 443) == (narrow,)
    with pytest.raises(Denied, match="method"):
        policy.request("https", "api.a.com", 443, "POST", "/")
    assert policy.request("https", "x.a.com", 443, "POST", "/").host == "*.a.com"


def test_first_fitting_route_of_a_host() -> None:
    write = RouteConfig("a.com", paths=("/w",), auth=AuthConfig("bearer", "t" * 9))
    policy = Policy((write, RouteConfig("a.com", methods=("GET",))))
    assert policy.request("https", "a.com", 443, "POST", "/w/x") is write
    assert policy.request("https", "a.com", 443, "GET", "/r").auth is None
    with pytest.raises(Denied, match="path"):
        policy.request("https", "a.com", 443, "POST", "/r")


def test_empty_policy_denies() -> None:
    with pytest.raises(Denied, match="no-route"):
        Policy().connect("ok.com", 443)
    for nothing in (None, [], ()):
        assert GatewayConfig.from_json({"slug": "s", "routes": nothing}).routes == ()


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/api", "/api", True),
        ("/api", "/api/x", True),
        ("/api", "/apix", False),
        ("/api/", "/api", False),
        ("/", "/anything", True),
        ("/a/*", "/a/b", True),
        ("/a/*", "/a/b/c", False),
        ("/a/**", "/a/b/c", True),
        ("/a*c", "/abbc", True),
        ("/a.c", "/abc", False),
        ("/a/*", "/a/b\n", True),
    ],
)
def test_path_patterns(pattern: str, path: str, fits: bool) -> None:
    assert path_matches(pattern, path) is fits


@given(st.lists(st.sampled_from(["a", "b", "/", "*", "**", "*a"])), st.text("ab/\n"))
def test_globs_mean_what_their_regular_expression_means(parts: list[str], path: str) -> None:
    pattern = "/*" + "".join(parts)
    pieces = re.split(r"(\*\*+|\*)", pattern)
    words = (".*" if part[:2] == "**" else "[^/]*" if part == "*" else re.escape(part) for part in pieces)
    assert path_matches(pattern, path) is bool(re.fullmatch("".join(words), path, re.DOTALL))


def test_no_path_is_long_enough_to_hold_a_glob_up() -> None:
    """A regular expression would take days."""
    assert not path_matches("/**/a**/**b*/**a*a*a*/**x", "/" + "a/b" * 5000)


@pytest.mark.parametrize(
    "raw",
    [
        "/a//b",
        "/a/./b",
        "/a/../b",
        "/a/..",
        "/%2e%2e/b",
        "/a/%2E./b",
        "/a%2fb",
        "/a%5cb",
        "/a\\b",
        "/a%00",
        "/a%25",
        "/..;/b",
        "/%zz",
        "/%",
        "/%ff",
        "x",
        "//a",
    ],
)
def test_ambiguous_paths(raw: str) -> None:
    assert canonical_path(raw) is None


def test_git_in_disguise() -> None:
    for path in (
        "/r/git-upload-pack",
        "/r//git%2Dreceive-pack",
        "/r/git-upload-pack/",
        "/r/%2567it-upload-pack",
        "/r/git-receive-pack;x",
    ):
        assert is_git(path, "", "")
    assert is_git("/r/info//refs", "a=b&service=git-receive-pack", "")
    assert is_git("/r/x", "", "application/x-git-upload-pack-request")
    assert not is_git("/r/info/refs", "", "")
    assert not is_git("/docs/git-upload-pack.html", "service=git-upload-pack", "text/html")


_PARTS = st.sampled_from(
    ["ok", "com", "evil", "sub", "ro", ".", "*", "@", "\0", "\n", "%2e", "/", "..", ":", "443", "A", "é", "[", "]"]
)
_NAMES = st.one_of(st.text(max_size=40), st.lists(_PARTS, max_size=8).map("".join))


@settings(max_examples=400, deadline=None)
@given(raw=_NAMES)
def test_only_listed_names_are_ever_allowed(raw: str) -> None:
    try:
        host, port = parse_authority(raw, 443)
        OK.connect(host, port)
    except Denied:
        return
    assert port == 443
    assert host in ("ok.com", "ro.com") or host.endswith(".sub.com")
    assert host == raw.lower().removesuffix(":443").removesuffix(":0443").removesuffix(".") or ":" in raw


_PATHS = st.lists(
    st.sampled_from(["/", "a", "b", ".", "%2e", "%2f", "%5c", "\\", ";", "?", "%", "\0", "é"]), max_size=10
)


@settings(max_examples=400, deadline=None)
@given(parts=_PATHS)
def test_only_listed_paths_are_ever_allowed(parts: list[str]) -> None:
    target = "/" + "".join(parts)
    try:
        OK.request("https", "ro.com", 443, "GET", target)
    except Denied:
        return
    path = target.partition("?")[0]
    assert path == "/a" or path.startswith("/a/")
    assert ".." not in path.split("/")
    assert not any(bad in path.lower() for bad in ("//", "/./", "%2e%2e", "%2f", "%5c", "\\"))


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "168.63.129.16",
        "192.0.0.192",
        "198.18.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::1",
        "2002:808:808::1",
        "2001::1",
        "2001:db8::1",
        "::8.8.8.8",
        "100::1",
    ],
)
def test_addresses_that_are_not_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450::1", "172.32.0.1", "100.128.0.1"])
def test_public_addresses(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


def test_resolve_overrides() -> None:
    assert parse_resolve("10.0.0.5") == (ipaddress.ip_address("10.0.0.5"), None)
    assert parse_resolve("[fd00::5]:8443") == (ipaddress.ip_address("fd00::5"), 8443)
    for bad in ("x", "1.2.3.4:0", "169.254.169.254", "::ffff:169.254.169.254", "0.0.0.0", "fd00:ec2::254", "1.2.3.4:x"):
        with pytest.raises(ValueError):
            parse_resolve(bad)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ({"slug": "s", "nonsense": 1}, "gateway.nonsense"),
        ({}, "gateway.slug"),
        ({"slug": "s", "routes": {}}, "routes"),
        ({"slug": "s", "routes": [{"port": 1}]}, "routes[0].host"),
        ({"slug": "s", "routes": [{"host": "a.com", "methods": "GET"}]}, "routes[0].methods"),
        ({"slug": "s", "routes": [{"host": "a.com", "methods": ["TRACE"]}]}, "routes[0].methods"),
        ({"slug": "s", "routes": [{"host": "a.com", "paths": ["/a/../b"]}]}, "routes[0].paths"),
        (
            {"slug": "s", "routes": [{"host": "a.com", "auth": {"scheme": "magic", "token": "t"}}]},
            "routes[0].auth.scheme",
        ),
        (
            {"slug": "s", "routes": [{"host": "a.com", "auth": {"scheme": "bearer", "token": ""}}]},
            "routes[0].auth.token",
        ),
        ({"slug": "s", "routes": [{"host": "a.com", "auth": {"scheme": "bearer"}}]}, "routes[0].auth.token"),
        ({"slug": "s", "limits": {"idle": 0}}, "gateway.limits.idle"),
        ({"slug": "s", "ca": {"cert_pem": "x"}}, "gateway.ca"),
    ],
)
def test_strict_configuration(data: dict[str, object], key: str) -> None:
    with pytest.raises(ManifestError) as caught:
        GatewayConfig.from_json(data)
    assert caught.value.key == key


_KEYS = st.sampled_from(
    [
        "slug",
        "routes",
        "host",
        "port",
        "scheme",
        "methods",
        "paths",
        "auth",
        "resolve",
        "ca_pem",
        "token",
        "header",
        "limits",
        "ca",
        "idle",
    ]
)
_VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from(["a.com", "https", "bearer", "/"])
)
_JSON = st.recursive(
    _VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12
)


@settings(max_examples=300, deadline=None)
@given(
    data=st.dictionaries(_KEYS, _JSON, max_size=4), route=st.dictionaries(_KEYS, _JSON, max_size=4), own=st.booleans()
)
def test_any_configuration_is_taken_or_refused(data: dict[str, object], route: dict[str, object], own: bool) -> None:
    with suppress(ManifestError):
        GatewayConfig.from_json({"slug": "s", "routes": [{"host": "a.com", **route}]} if own else data)


def test_configuration_travels_unchanged_and_shows_no_secret() -> None:
    auth = AuthConfig("basic", "hunter2-hunter2", username="me")
    config = GatewayConfig(
        "s", "n", (RouteConfig("a.com", methods=("GET",), auth=auth, resolve="10.0.0.1:8"),), keep=True
    )
    assert GatewayConfig.from_json(config.to_json()) == config
    assert "hunter2" not in repr(config)
    assert "hunter2" not in str(config.routes[0].label)
