"""The manifest and the proxy judge the same hostile input alike, and compare it in the same canonical form."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bb_jupyter.errors import ManifestError
from bb_jupyter.gateway.egress_plan import EgressPlan, RoutePlan, route_configs
from bb_jupyter.manifest import Route
from bb_jupyter.policy import Denied
from bb_jupyter.policy.addresses import parse_resolve
from bb_jupyter.policy.hosts import normalise_host, parse_authority
from bb_jupyter.policy.matcher import Policy
from bb_jupyter.policy.routes import RouteConfig, routes_from_json, routes_to_json

_SCRAPS = [
    *(
        "a",
        "b1",
        "ok",
        "com",
        "example",
        "internal",
        "co",
        "uk",
        "xn--a",
        "xn--bcher-kva",
        "XN--BCHER-KVA",
        "_srv",
        "-",
    ),
    *(".", "..", "*", "*.", "@", ":", "443", ":443", "/", "//", "\\", "?", "#", " ", "\0", "\n", "\r\n", "\t", "%"),
    *(
        "%00",
        "%2e",
        "%2E",
        "%2f",
        "%5c",
        "%25",
        "%2a",
        "%2A",
        "%61",
        "%C3%BC",
        "%ff",
        "%zz",
        ";",
        "..;x",
        "=",
        "&",
        ",",
    ),
    *("A", "Z9", "é", "ß", "。", "１", "℀", "[", "]", "::", "::1", "fe80", "ffff", "%eth0", "0x7f", "0177", "1e3"),
    *("127.0.0.1", "10.0.0.5", "169.254.169.254", "2130706433", "metadata", "google", "a" * 63, "a" * 64),
]
_TEXT = st.lists(st.sampled_from(_SCRAPS), max_size=7).map("".join) | st.text(max_size=20)
_MANY = settings(max_examples=500, deadline=None)


def _in_manifest(**keys: object) -> Route | None:
    try:
        return Route.model_validate({"host": "ok.example", **keys})
    except ValidationError:
        return None


def _in_gateway(**keys: object) -> RouteConfig | None:
    try:
        return RouteConfig.from_json({"host": "ok.example", **keys}, "route")
    except ManifestError:
        return None


def _requested(text: str) -> str:
    """Return the host that the proxy takes a client's word for; empty when it refuses."""
    try:
        return normalise_host(text)
    except Denied:
        return ""


@_MANY
@given(text=_TEXT)
@example("ok.com@evil.test")
@example("evil.test\0.ok.com")
@example("ok.com\n")
@example("xn--a.example")
@example("my_service.xn--bcher-kva.example")
@example("*.co.uk")
@example("metadata.google.internal")
@example("0x7f.1")
@example("[::1%lo]")
def test_hosts(text: str) -> None:
    declared = _in_manifest(host=text)
    if text.isascii():  # other scripts are for people: on the wire there is only punycode
        enforced = _in_gateway(host=text)
        assert (declared and declared.host) == (enforced and enforced.host)
    if declared is None:
        assert not _requested(text) or text.startswith("*") or "metadata" in text or "instance-data" in text
        return
    again = _in_gateway(host=declared.host)
    assert again is not None and again.host == declared.host
    name = declared.host.replace("*", "any")
    assert parse_authority(name, 443) == (name, 443)
    assert Policy((again,)).connect(name, 443) == (again,)
    if text.isascii() and not text.startswith("*"):
        assert _requested(text) == declared.host


@_MANY
@given(text=_TEXT.filter(bool) | st.ip_addresses().map(str) | st.ip_addresses(v=6).map(lambda a: f"[{a.exploded}]:80"))
@example("::ffff:169.254.169.254")
@example("[fe80::1%eth0]:80")
@example("010.0.0.1")
@example("10.0.0.1:0")
@example("1٣.0.0.1")
def test_addresses(text: str) -> None:
    declared, enforced = _in_manifest(resolve=text), _in_gateway(resolve=text)
    assert (declared is None) is (enforced is None)
    if declared is not None and declared.resolve is not None:
        assert parse_resolve(declared.resolve) == parse_resolve(text)


@_MANY
@given(text=st.builds("{}{}".format, st.sampled_from(["/", "", "/a/"]), _TEXT))
@example("/a%2A")
@example("/a/..;x/b")
@example("/a/.%2e/b")
@example("/%C3%BC")
@example("/a/;b")
@example("/a//")
def test_paths(text: str) -> None:
    declared, enforced = _in_manifest(paths=[text]), _in_gateway(paths=[text])
    assert (declared is None) is (enforced is None)
    if declared is not None and enforced is not None:
        assert enforced.paths == declared.paths
        if "*" not in text:
            assert _allows(enforced, "GET", text)
    elif "?" not in text and "%2a" not in text.lower():  # a query begins there; a request may ask for a star
        everything = RouteConfig("ok.example", paths=("/**",))
        assert not _allows(everything, "GET", text)


@_MANY
@given(text=_TEXT | st.sampled_from(["get", "GET", "TRACE", "connect", "M-SEARCH", "x" * 65]))
def test_methods(text: str) -> None:
    declared, enforced = _in_manifest(methods=[text]), _in_gateway(methods=[text])
    assert (declared and declared.methods) == (enforced and enforced.methods)
    if enforced is not None:
        assert _allows(enforced, enforced.methods[0], "/")


def _allows(route: RouteConfig, method: str, target: str) -> bool:
    try:
        return Policy((route,)).request("https", "ok.example", 443, method, target) is route
    except Denied:
        return False


_AUTH = st.fixed_dictionaries(
    {"scheme": st.sampled_from(["bearer", "basic", "header"])},
    optional={
        "header": st.sampled_from(["X-Key", "Host", "TE", "Proxy-Authorization", "X\r\nY", ""]) | _TEXT,
        "username": st.sampled_from(["me", "u:p", "a\nb", "a\0"]) | _TEXT.filter(str.strip),
    },
)


@_MANY
@given(auth=_AUTH, scheme=st.sampled_from(["https", "https", "http"]))
def test_credentials(auth: dict[str, str], scheme: str) -> None:
    declared = _in_manifest(auth={**auth, "token_ref": "T"}, scheme=scheme)
    enforced = _in_gateway(auth={**auth, "token": "hunter2-hunter2"}, scheme=scheme)
    assert declared is None or enforced is not None
    if enforced is not None and declared is None:  # the wire has a default where a manifest needs the key
        assert auth["scheme"] == "header" and auth.get("header", "Authorization") == "Authorization"


_ROUTES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"host": _TEXT | st.sampled_from(["Ok.Example.", "*.sub.example", "bücher.example"])},
    optional={
        "port": st.integers(-1, 70000),
        "scheme": st.sampled_from(["https", "http", "ftp"]),
        "methods": st.lists(_TEXT | st.sampled_from(["get", "POST"]), min_size=1, max_size=2),
        "paths": st.lists(_TEXT.map("/{}".format), min_size=1, max_size=2),
        "resolve": _TEXT | st.sampled_from(["10.0.0.5:8443", "[FD00::5]:1"]),
        "auth": _AUTH.map(lambda auth: {**auth, "token_ref": "T"}),
    },
)


@_MANY
@given(keys=_ROUTES)
def test_the_gateway_takes_every_route_of_a_manifest(keys: dict[str, Any]) -> None:
    declared = _in_manifest(**keys)
    if declared is None:
        return
    routes = route_configs(EgressPlan((RoutePlan.from_route(declared),)), lambda _: "hunter2-hunter2")
    assert routes_from_json(routes_to_json(routes)) == routes
    assert (routes[0].host, routes[0].port, routes[0].paths) == (
        declared.host,
        declared.effective_port,
        declared.paths or (),
    )
