"""A gateway with a budget: what passes is counted, and when it is used up nothing passes any more."""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Callable
from contextlib import closing

from bb_jupyter.policy.routes import RouteConfig
from tests.integration.gateway.conftest import Proxy
from tests.integration.gateway.upstream import Upstream


def _route(routes: list[RouteConfig], host: str) -> RouteConfig:
    return next(route for route in routes if route.host == host)


def test_within_its_budget_everything_passes(start: Callable[..., Proxy], routes: list[RouteConfig]) -> None:
    gateway = start(_route(routes, "any.test"))
    gateway.client.limit_egress(1_000_000)
    assert gateway.get("any.test", "/echo", method="POST", body=b"x" * 1000)[0].status == 200
    assert gateway.get("any.test", "/echo")[0].status == 200
    assert 1000 < gateway.client.sync() < 1_000_000, "it tells how much has passed"


def test_over_its_budget_nothing_passes(start: Callable[..., Proxy], routes: list[RouteConfig]) -> None:
    gateway = start(_route(routes, "any.test"), _route(routes, "tunnel.test"))
    gateway.client.limit_egress(10_000)
    with contextlib.suppress(OSError, http.client.HTTPException):  # it may be cut, and may just have passed
        gateway.get("any.test", "/echo", method="POST", body=b"x" * 20_000)
    assert "10,000 bytes" in gateway.event(event="budget")["reason"]
    sock, head = gateway.connect("any.test:443")
    sock.close()
    assert head.startswith(b"HTTP/1.1 403") and b"budget" in head
    assert gateway.event(verdict="denied", host="any.test")["rule"] == "budget"


def test_what_is_under_way_ends(start: Callable[..., Proxy], routes: list[RouteConfig], upstream: Upstream) -> None:
    gateway = start(_route(routes, "tunnel.test"))
    trust = ssl.create_default_context(cadata=upstream.ca_pem)
    with closing(gateway.https("tunnel.test", trust=trust)) as relay:
        gateway.client.shut("the experiment's money is spent")
        assert gateway.event(event="budget")["closed"] == 1
        assert gateway.event(event="egress-end", host="tunnel.test")["error"]
        relay.close()


def test_a_new_policy_opens_nothing_again(start: Callable[..., Proxy], routes: list[RouteConfig]) -> None:
    gateway = start(_route(routes, "any.test"))
    gateway.client.shut("over its tokens")
    gateway.event(event="budget")
    gateway.client.replace_policy([_route(routes, "any.test"), _route(routes, "read.test")])
    sock, head = gateway.connect("read.test:443")
    sock.close()
    assert head.startswith(b"HTTP/1.1 403") and b"budget" in head
