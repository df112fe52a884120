"""P1: a listed name is resolved once, every address is checked, and what was checked is dialled.

In this process and with a resolver of the test's own: what public DNS would answer cannot be had here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import aiohttp.connector
import pytest

from bb_jupyter.backend.shared.container_engine.endpoint import Endpoint
from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.backend.shared.container_engine.gateway import Gateways
from bb_jupyter.gateway.control.gateway_config import DEFAULT_LIMITS, GatewayConfig
from bb_jupyter.gateway.proxy import upstream
from bb_jupyter.gateway.proxy.host_addresses import of_this_host
from bb_jupyter.gateway.proxy.upstream import UpstreamFailed
from bb_jupyter.policy import Denied
from bb_jupyter.policy.addresses import is_own
from bb_jupyter.policy.routes import RouteConfig

PUBLIC, OTHER_PUBLIC = "93.184.215.14", "2606:4700::6810:84e5"
ROUTE = RouteConfig("ok.test")

Answers = Callable[..., list[str]]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Make the system's resolver answer with these lists of addresses, one after another; return who was asked for."""
    asked: list[str] = []

    def answer(*lists: list[str]) -> list[str]:
        waiting = list(lists)

        def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            asked.append(host)
            found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            families = [socket.AF_INET6 if ":" in address else socket.AF_INET for address in found]
            return [
                (family, socket.SOCK_STREAM, 6, "", (address, port))
                for family, address in zip(families, found, strict=True)
            ]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return answer


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the addresses that are dialled; nothing is sent."""
    found: list[str] = []

    async def start_connection(addr_infos: Any, **_: Any) -> socket.socket:
        found.extend(info[4][0] for info in addr_infos)
        raise ConnectionRefusedError("nobody is dialled by a test")

    monkeypatch.setattr(upstream, "start_connection", start_connection)
    monkeypatch.setattr(aiohttp.connector.aiohappyeyeballs, "start_connection", start_connection)
    return found


async def _tunnel() -> None:
    upstreams = upstream.Upstreams("", DEFAULT_LIMITS)
    await upstreams.dial(ROUTE, "ok.test", 443)


async def _request() -> None:
    upstreams = upstream.Upstreams("", DEFAULT_LIMITS)
    try:
        async with upstreams.session(ROUTE).get("https://ok.test/"):
            pass
    finally:
        await upstreams.close()


WAYS = pytest.mark.parametrize("way", [_tunnel, _request], ids=["tunnelled", "looked-into"])


@WAYS
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.17.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "168.63.129.16", "224.0.0.1", "255.255.255.255", "192.0.2.2", "198.18.0.1", "::1", "::", "fe80::1", "fd00::2",
        "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "2001:db8::1",
        "ff02::1", "::7f00:1",
    ],
)  # fmt: skip
def test_a_name_that_means_a_private_address_is_not_dialled(
    resolver: Answers, dialled: list[str], way: Callable[[], Any], address: str
) -> None:
    for answer in ([address], [PUBLIC, address], [address, PUBLIC]):
        resolver(answer)
        with pytest.raises(Denied) as denied:
            asyncio.run(way())
        assert denied.value.rule == "address"
    assert dialled == []


@WAYS
def test_a_name_that_means_this_machines_public_address_is_not_dialled(
    resolver: Answers, dialled: list[str], way: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "is_own", lambda address: str(address) == PUBLIC)
    resolver([OTHER_PUBLIC, PUBLIC])
    with pytest.raises(Denied, match="this machine's own"):
        asyncio.run(way())
    assert dialled == []


@pytest.mark.parametrize("own", [PUBLIC, OTHER_PUBLIC])
def test_an_address_of_the_machine_around_the_gateways_container_is_not_dialled(
    resolver: Answers, dialled: list[str], own: str
) -> None:
    config = GatewayConfig.from_json({"slug": "x", "own": ["127.0.0.1", own.upper()]})
    resolver([own])
    with pytest.raises(Denied, match="this machine's own"):
        asyncio.run(upstream.Upstreams("", DEFAULT_LIMITS, config.own).dial(ROUTE, "ok.test", 443))
    assert dialled == []


def test_a_gateway_in_a_container_is_told_the_addresses_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[GatewayConfig] = []
    prepared: Any = SimpleNamespace(open=lambda config, on_event: told.append(config))
    url = "tcp://198.51.100.7:2375"
    far = SimpleNamespace(endpoint=Endpoint(url, "a test"), client=SimpleNamespace(base_url="http" + url[3:]))
    engine = SimpleNamespace(addresses=lambda: Engine.addresses(cast("Any", far)))
    gateways = Gateways(cast("Any", engine), cast("Any", None))
    gateways._all, gateways._prepared = [prepared], prepared
    gateways.open(GatewayConfig("x"), print)
    assert {"198.51.100.7", *of_this_host()} == {*told[0].own}


def test_a_machine_knows_its_of_this_host() -> None:
    assert is_own(ip_address("127.0.0.1"))
    assert not is_own(ip_address(PUBLIC))
    assert not is_own(ip_address(OTHER_PUBLIC))
    for address in map(ip_address, of_this_host()):
        assert address.is_loopback or is_own(address), address


@WAYS
def test_the_address_that_was_checked_is_the_one_dialled(
    resolver: Answers, dialled: list[str], way: Callable[[], Any]
) -> None:
    """A second look would find another address: rebinding."""
    asked = resolver([PUBLIC, OTHER_PUBLIC], ["127.0.0.1"])
    with pytest.raises((UpstreamFailed, aiohttp.ClientError)):
        asyncio.run(way())
    assert set(dialled) <= {PUBLIC, OTHER_PUBLIC}
    assert PUBLIC in dialled
    assert asked == ["ok.test"]
