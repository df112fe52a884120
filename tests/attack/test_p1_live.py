"""P1 while the bottle lives: edits of its policy, and the death of its gateway."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from bb_jupyter import manifest
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.session import Session
from bb_jupyter.errors import BackendUnavailable, BottleError, ManifestError, UsageError
from bb_jupyter.gateway.audit import audit_log
from bb_jupyter.gateway.egress_plan import EgressPlan, RoutePlan
from bb_jupyter.selftest import Canary, Probe, network, proxy, selftest
from bb_jupyter.selftest.proxy import connect
from tests.attack.conftest import first_output, yaml_of
from tests.attack.service import Service
from tests.contract.conftest import Launch
from tests.leftovers import SLUG_LABEL


@pytest.fixture
def open_bottle(launch: Launch, service: Service, bottle_name: str) -> BottleHandle:
    manifest.define_bottle(bottle_name, yaml_of(service.route("ok.test", methods=["GET"])))
    return launch(bottle=bottle_name)


def _reaches(handle: BottleHandle) -> bool:
    done = handle.exec(["curl", "-sS", "--max-time", "20", "https://ok.test/echo"], timeout=40).wait()
    return b"service" in done.stdout


def _rule(handle: BottleHandle, canary: Canary, authority: str) -> str:
    probe = Probe(handle, canary)
    return probe.dial([probe.proxied(connect(authority))])[0].rule


@pytest.mark.parametrize(
    "bad",
    [
        RoutePlan("new.test", ca="/nonexistent/ca.pem"),
        RoutePlan("new.test", ca=__file__),
        RoutePlan("new.test", paths=("/a/../b",)),
        RoutePlan("new.test", auth_scheme="bearer", token_ref="BB_NOT_SET"),
        RoutePlan("new.test", resolve="169.254.169.254"),
        RoutePlan("*"),
        RoutePlan("new.test", port=0),
    ],
    ids=["no-ca", "ca-is-none", "odd-path", "no-token", "metadata", "too-wide", "port-0"],
)
def test_an_edit_that_is_wrong_changes_nothing(open_bottle: BottleHandle, canary: Canary, bad: RoutePlan) -> None:
    before = open_bottle.bottle.network.routes
    assert before is not None
    with pytest.raises(BottleError) as told:
        open_bottle.bottle.allow(EgressPlan((RoutePlan("more.test"), bad)))
    assert isinstance(told.value, ManifestError)
    assert len(str(told.value)) > 10
    assert open_bottle.bottle.network.routes == before
    assert _reaches(open_bottle)
    assert _rule(open_bottle, canary, "more.test:443") == "no-route"
    assert _rule(open_bottle, canary, "new.test:443") == "no-route"


def test_a_host_that_cannot_be_allowed_changes_nothing(open_bottle: BottleHandle, canary: Canary) -> None:
    for host in ("*", "*.com", "https://new.test/", "127.0.0.1", "new.test:0", ""):
        with pytest.raises(UsageError):
            open_bottle.allow("more.test", host)
    assert _reaches(open_bottle)
    assert _rule(open_bottle, canary, "more.test:443") == "no-route"


def test_a_right_edit_is_in_force_at_once(open_bottle: BottleHandle, canary: Canary) -> None:
    assert _rule(open_bottle, canary, "localhost:9") == "no-route"
    open_bottle.allow("localhost:9")
    assert _rule(open_bottle, canary, "localhost:9") == "address"
    assert _reaches(open_bottle)
    open_bottle.bottle.allow(EgressPlan())
    assert not _reaches(open_bottle)
    assert _rule(open_bottle, canary, "ok.test:443") == "no-route"


def test_without_its_gateway_a_bottle_has_no_network(
    open_bottle: BottleHandle, session: Session, request: pytest.FixtureRequest
) -> None:
    told, died = [], threading.Event()

    def hear(event: dict[str, Any]) -> None:
        told.append(event)
        if event["event"] == "gateway-died":
            died.set()

    open_bottle.bottle.network.events.append(hear)
    assert _reaches(open_bottle)
    _kill_gateway(open_bottle, request)
    assert died.wait(20), told
    assert open_bottle.bottle.network.state == "lost"
    assert not _reaches(open_bottle)
    walls = [*(check for check in vars(network).values() if hasattr(check, "__wrapped__")), proxy.unlisted_hosts]
    assert [str(verdict) for verdict in selftest(open_bottle, checks=walls) if verdict.ok is not True] == []
    assert [bottle.state for bottle in session.active() if bottle.slug == open_bottle.plan.slug] == ["no gateway"]
    assert audit_log.read(open_bottle.plan.slug)[-1]["event"] == "gateway-died"
    assert open_bottle.exec(["echo", "alive"]).wait().stdout == b"alive\n"
    open_bottle.allow("more.test")  # the human's act, and nothing less, brings it back
    assert open_bottle.bottle.network.state == "open"
    assert _reaches(open_bottle)


def test_a_program_on_the_gateways_port_harms_only_itself(launch: Launch, canary: Canary) -> None:
    handle = launch()
    program = (
        "import socket, time; s = socket.create_server(('127.0.0.1', 3128)); print('up', flush=True); time.sleep(99)"
    )
    with handle.exec(["python3", "-c", program]) as squatter:
        assert first_output(squatter) == b"up\n"
        with pytest.raises(BackendUnavailable):
            handle.allow("ok.test")
        assert handle.bottle.network.state == "none"
        squatter.kill()
        squatter.wait()
    assert handle.exec(["echo", "alive"]).wait().stdout == b"alive\n"
    handle.allow("localhost:9")
    assert _rule(handle, canary, "localhost:9") == "address"


def _kill_gateway(handle: BottleHandle, request: pytest.FixtureRequest) -> None:
    if handle.plan.spec.backend == "docker":
        with request.getfixturevalue("engine").client() as client:
            found = client.containers.list(
                filters={"label": [f"{SLUG_LABEL}={handle.plan.slug}", "bb-jupyter.role=gateway"]}
            )
            [gateway] = found
            gateway.kill("SIGKILL")
        return
    tasks = Path("/proc/self/task").glob("*/children")
    children = [int(pid) for task in tasks for pid in task.read_text().split()]
    [gateway] = [pid for pid in children if b"bb_jupyter.gateway" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(gateway, signal.SIGKILL)
