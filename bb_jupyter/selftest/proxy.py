"""P1, through the gateway: requests that it must refuse in every form."""

from __future__ import annotations

import ssl

from bb_jupyter.gateway.egress_plan import RoutePlan
from bb_jupyter.policy.hosts import specificity
from bb_jupyter.selftest.network import METADATA
from bb_jupyter.selftest.probe import Broken, NotRun, Probe, promise

#: Rules that refuse a name; `""` stands for a refusal (400, without a rule) by the HTTP parser, which comes first.
_NAME_RULES = ("no-route", "host-invalid", "ip-literal", "request-form", "")
_OTHER_PORT = 9  # "discard"; no route has this port


def connect(authority: str, *, host: str = "") -> bytes:
    """Return a CONNECT request (RFC 9110, 9.3.6).

    Args:
        authority: `HOST:PORT` to be connected to.
        host: content of the Host header; the authority by default.
    """
    return f"CONNECT {authority} HTTP/1.1\r\nHost: {host or authority}\r\nConnection: close\r\n\r\n".encode("latin-1")


def get(authority: str, path: str = "/", *, host: str = "", keep: bool = False) -> bytes:
    """Return a request with an absolute URL, as clients send it to a proxy (RFC 9112, 3.2.2)."""
    rest = f"Host: {host or authority}\r\n" + ("" if keep else "Connection: close\r\n")
    return f"GET http://{authority}{path} HTTP/1.1\r\n{rest}\r\n".encode("latin-1")


def client_hello(server_name: str | None) -> bytes:
    """Return the first TLS record of a client that asks for *server_name*, or for no name (RFC 8446, 4.1.2).

    It is made on this host, so the bottle needs no TLS of its own.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the handshake never completes
    sent = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=server_name).do_handshake()
    except ssl.SSLWantReadError:
        return sent.read()
    raise RuntimeError("a handshake needs an answer")


@promise("P1")
def unlisted_hosts(probe: Probe) -> str:
    """A host that is not listed is refused, both by CONNECT and as a plain URL; so is this host by name.

    Broken elsewhere: CVE-2025-66479 (an empty list allowed all); claude-code #40213 (plain HTTP passed beside CONNECT).
    """
    port, path = probe.canary.port, f"/{probe.canary.token}"
    names = (f"{probe.canary.token}.invalid", "localhost", "host.docker.internal")
    asked = [form for name in names for form in (connect(f"{name}:{port}"), get(f"{name}:{port}", path))]
    return probe.denied(asked, ("no-route", "port", "scheme", "address"))


@promise("P1")
def address_literals(probe: Probe) -> str:
    """An IP address is refused in every notation that some URL parser accepts, metadata services included.

    Broken elsewhere: OpenShell's SSRF cases; decimal, octal and IPv6-mapped forms that filters did not recognise.
    """
    port, path = probe.canary.port, f"/{probe.canary.token}"
    loopback = (
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.0.0.1.", "0",
        "0.0.0.0",  # noqa: S104
    )  # fmt: skip
    wrapped = ("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::]")
    hosts = [f"[{host}]" if ":" in host else host for host in probe.canary.addresses]
    clouds = [f"[{host}]" if ":" in host else host for host in METADATA]
    literals = (*loopback, *wrapped, *hosts, *clouds, "2852039166")
    return probe.denied(
        [form for host in literals for form in (connect(f"{host}:{port}"), get(f"{host}:{port}", path))],
        ("ip-literal",),
    )


@promise("P1")
def strange_names(probe: Probe) -> str:
    """Names that two parsers may read differently, or that only contain a listed name, are refused.

    Broken elsewhere: OpenShell #1498 (upper case and trailing dots); NUL bytes that end a name for one parser only.
    """
    path, other = f"/{probe.canary.token}", f"{probe.canary.token}.invalid"
    ok, port = _exactly_listed(probe)
    names = (
        f"{other}\0.{ok}", f"{ok}\0.{other}", f"{ok}.{other}", f"{ok}@{other}", f"{other}#@{ok}", f"{other}\\.{ok}",
        f"{other}%00.{ok}", f"{other}/.{ok}", f"{other}?.{ok}", f"{ok}..", f".{ok}", f"{probe.canary.token}{ok}",
        f"{probe.canary.token}.{ok}", f"{other} {ok}", f"{ok}\t{other}", f"xn--{ok}",
        f"\xe4.{ok}", "", f"{'a' * 64}.{ok}", f"{'a.' * 130}{ok}",
    )  # fmt: skip
    asked = [form for name in names for form in (connect(f"{name}:{port}"), get(f"{name}:{port}", path))]
    return probe.denied(asked, _NAME_RULES)


@promise("P1")
def other_ports(probe: Probe) -> str:
    """A listed host is reached on its listed port alone.

    Broken elsewhere: srt #274 (every port of an allowed host).
    """
    names = _listed_names(probe)
    asked = [connect(f"{name}:{_OTHER_PORT}") for name in names] + [get(f"{name}:{_OTHER_PORT}") for name in names]
    return probe.denied(asked, ("port", "no-route"))


@promise("P1")
def host_headers(probe: Probe) -> str:
    """A Host header that names another host than the connection's is refused, even when it names a listed host.

    Broken elsewhere: gh-aw-firewall #8878, sbx #605 (a listed name in one place, the real target in another).
    """
    port, ok = probe.canary.port, _listed_names(probe)[0]
    other = f"{probe.canary.token}.invalid:{port}"
    listed = [route for route in _listed(probe) if route.scheme == "https"]
    asked = [connect(other, host=ok), get(other, host=ok)]
    asked += [connect(f"{_name(route)}:{route.port}", host="other.invalid") for route in listed[:1]]
    return probe.denied(asked, ("no-route", "host-mismatch"))


@promise("P1")
def tls_names(probe: Probe) -> str:
    """TLS to a listed host must ask for that host: another name, or none, ends the connection.

    Broken elsewhere: gh-aw-firewall #8878 (CONNECT to a listed host, TLS for another behind the same front).
    """
    listed = [route for route in _listed(probe) if route.scheme == "https"]
    if not probe.has_gateway or not listed:
        raise NotRun("the bottle has no https route")
    authority = f"{_name(listed[0])}:{listed[0].port}"
    hellos = (client_hello(f"{probe.canary.token}.invalid"), client_hello(None), probe.hello)
    results = probe.dial([probe.proxied(connect(authority), hello) for hello in hellos])
    for result in results:
        if result.not_tried:
            raise NotRun(result.not_tried)
        if b" 502 " in result.answers[0][:16]:
            raise NotRun(f"{authority} cannot be reached just now")
        if any(answer and answer[:1] != b"\x15" for answer in result.answers[1:]):  # 21: a TLS alert
            raise Broken(f"{authority} answered to another name: {result.answers[-1][:40]!r}")
        if result.error == "timeout":
            raise Broken(f"{authority}: a wrong TLS name is not refused at once")
    return f"{authority}: another name, no name and no TLS were refused"


@promise("P1")
def later_requests(probe: Probe) -> str:
    """Every request on a kept-open connection is checked by itself, and an upgrade opens nothing.

    Broken elsewhere: OpenShell (only the first request of a connection was checked).
    """
    port, path = probe.canary.port, f"/{probe.canary.token}"
    name = f"{probe.canary.token}.invalid:{port}"
    upgrade = get(name, path).replace(b"Connection: close", b"Connection: Upgrade\r\nUpgrade: websocket")
    h2c = get(name, path).replace(b"Connection: close", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    asked: list[bytes | tuple[bytes, ...]] = [
        (get(name, path, keep=True), get(f"localhost:{port}", path)),
        upgrade,
        h2c,
        preface,
    ]
    return probe.denied(asked, ("no-route", "port", "request-form", ""))


def _listed(probe: Probe) -> tuple[RoutePlan, ...]:
    routes = probe.handle.bottle.network.routes
    return routes.routes if routes else ()


def _name(route: RoutePlan) -> str:
    """Return a host that a route matches."""
    return route.host.replace("*", "bb-selftest", 1)


def _listed_names(probe: Probe) -> list[str]:
    """Return up to 8 listed hosts; without any, a made-up one."""
    return list(dict.fromkeys(map(_name, _listed(probe))))[:8] or ["ok.example.com"]


def _exactly_listed(probe: Probe) -> tuple[str, int]:
    """Return a listed host whose subdomains are not listed, and its port; without any, a made-up one."""
    routes = _listed(probe)
    for route in routes:
        if not any(specificity(other.host, f"x.{route.host}") for other in routes):
            return route.host, route.port
    return "ok.example.com", 443
