"""Promises of a bottle's network: what is listed is reached, the rest is refused, and it can change meanwhile."""

from __future__ import annotations

import json

import pytest

from bb_jupyter import manifest
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.gateway.egress_plan import EgressPlan
from tests.attack.conftest import service, yaml_of  # noqa: F401 - the fixture
from tests.attack.service import Service
from tests.contract.conftest import Launch, out, sh

_CURL = "curl -sS --max-time 30"
_PYTHON = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=30).read().decode())"
#: Asks for a name, speaks TLS to it and prints what came, then waits for the end of the connection.
_RELAY = """
import socket, ssl
s = socket.create_connection(("egress", 3128))
s.sendall(b"CONNECT tunnel.test:443 HTTP/1.1\\r\\nHost: tunnel.test:443\\r\\n\\r\\n")
answer = s.recv(1000).split(b"\\r\\n")[0].decode()
s = ssl._create_unverified_context().wrap_socket(s, server_hostname="tunnel.test", suppress_ragged_eofs=True)
print(answer, flush=True)
print("ended", s.recv(1), flush=True)
"""
_ENV = """
import json, os
print(json.dumps(dict(os.environ)))
"""


@pytest.fixture
def open_bottle(launch: Launch, service: Service, bottle_name: str) -> BottleHandle:  # noqa: F811
    routes = service.route("ok.test", methods=["GET"]), service.route("tunnel.test")
    manifest.define_bottle(bottle_name, yaml_of(*routes))
    return launch(bottle=bottle_name)


def test_a_listed_host_is_reached_and_its_certificate_trusted(open_bottle: BottleHandle) -> None:
    assert '"marker": "service"' in out(open_bottle, f"{_CURL} https://ok.test/a")
    done = open_bottle.exec(["python3", "-c", _PYTHON, "https://ok.test/b"], timeout=60).wait()
    assert b'"target": "/b"' in done.stdout, done
    assert open_bottle.bottle.network.state == "open"


def test_what_is_not_listed_is_refused_with_the_rule_and_the_way_out(open_bottle: BottleHandle) -> None:
    answer = out(open_bottle, f"{_CURL} -i http://other.test/")
    assert answer.startswith("HTTP/1.1 403 ")
    assert f"X-Bottle-Denied: no-route; %bottle allow {open_bottle.name} other.test" in answer
    refused = out(open_bottle, f"{_CURL} -i -X POST https://ok.test/")
    assert "X-Bottle-Denied: method" in refused


def test_a_bottle_without_routes_has_no_gateway_until_a_host_is_allowed(launch: Launch) -> None:
    handle = launch()
    assert handle.bottle.network.state == "none"
    assert sh(handle, f"{_CURL} http://other.test/").returncode == 6  # no such name
    assert handle.allow("new.test") == 1
    assert handle.bottle.network.state == "open"
    assert "no-route" in out(handle, f"{_CURL} -i http://other.test/")
    assert sh(handle, f"{_CURL} https://new.test/").returncode != 0  # it is in no DNS
    assert handle.allow("newer.test") == 2


def test_a_policy_that_is_narrowed_ends_what_it_no_longer_allows(open_bottle: BottleHandle) -> None:
    routes = open_bottle.bottle.network.routes
    assert routes is not None
    with open_bottle.exec(["python3", "-c", _RELAY], timeout=60) as relay:
        said = b""
        while b"\n" not in said:
            said += b"".join(chunk.data for chunk in relay.poll(30) or ())
        assert said.startswith(b"HTTP/1.1 200")
        narrow = EgressPlan(tuple(route for route in routes.routes if route.host != "tunnel.test"))
        assert open_bottle.bottle.allow(narrow) == 2
        assert b"ended" in relay.wait().stdout
    assert '"marker": "service"' in out(open_bottle, f"{_CURL} https://ok.test/still")


def test_programs_find_the_gateway_by_the_same_variables_on_every_backend(open_bottle: BottleHandle) -> None:
    found = json.loads(open_bottle.exec(["python3", "-c", _ENV]).wait().stdout)
    direct, bundle = "localhost,127.0.0.1,::1,egress,git-gate,supervise", "/home/agent/.bottle/ca.pem"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    ca = ("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT")
    expected = dict.fromkeys(names, "http://egress:3128") | {"NODE_USE_ENV_PROXY": "1"} | dict.fromkeys(ca, bundle)
    assert {name: found.get(name) for name in expected} == expected
    assert found["NO_PROXY"] == found["no_proxy"]
    assert f"{found['NO_PROXY']},".startswith(f"{direct},")  # a microVM reaches the services by address, too


def test_the_users_own_variable_wins(launch: Launch) -> None:
    handle = launch(allow=("new.test",), env={"HTTPS_PROXY": "http://own:1"})
    assert out(handle, "echo $HTTPS_PROXY") == "http://own:1\n"
