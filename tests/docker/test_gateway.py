"""A gateway in containers: hardened, found and removed with its bottle, and gone whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import docker
import pytest

from bb_jupyter.backend.docker.backend import DockerBackend
from bb_jupyter.backend.shared.container_engine import gateway as gateway_module
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.gateway.audit import audit_log
from bb_jupyter.gateway.egress_plan import EgressPlan, RoutePlan
from bb_jupyter.manifest import allowed_route
from tests.docker.conftest import Launch, Plan, claim, dead_owner, out, until
from tests.docker.test_engine import over_tcp  # noqa: F401 - the fixture
from tests.docker.test_launch import Stop
from tests.leftovers import SLUG_LABEL, Engine

ROUTES = (allowed_route("ok.test"),)
_REFUSED = "curl -sS --max-time 20 -i http://other.test/"
_CHILD = """
import sys, time
from bb_jupyter.backend.shared.container_engine import gateway as gateway_module
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import current
current().launch(sys.argv[1], LaunchOptions(backend="docker", allow=("ok.test",), keep=sys.argv[2:] == ["keep"]))
print("up", flush=True)
time.sleep(600)
"""


def containers_of(api: docker.APIClient, slug: str) -> dict[str, dict[str, Any]]:
    """Return what the engine knows of a bottle's containers, by role."""
    found = {}
    for entry in api.containers(all=True, filters={"label": f"{SLUG_LABEL}={slug}"}):
        with contextlib.suppress(docker.errors.NotFound):  # a handoff goes when it has done its work
            found[entry["Labels"]["bb-jupyter.role"]] = api.inspect_container(entry["Id"])
    return found


def test_the_gateways_container_can_do_nothing_but_serve(launch: Launch, api: docker.APIClient) -> None:
    bottle = launch(routes=ROUTES)
    assert "no-route" in out(bottle, _REFUSED)
    until(lambda: "handoff" not in containers_of(api, bottle.slug))
    found = containers_of(api, bottle.slug)
    assert found["bottle"]["HostConfig"]["NetworkMode"] == "none"
    host, config = found["gateway"]["HostConfig"], found["gateway"]["Config"]
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False)
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["LogConfig"]["Type"] == "none"
    assert not host["Binds"]
    assert not host["PortBindings"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert config["User"] == "65532:65532"
    assert [mount["Type"] for mount in found["gateway"]["Mounts"]] == ["volume"]
    assert config["Cmd"][1:4] == ["-E", "-m", "bb_jupyter.gateway"]
    assert not any(variable.startswith("BB_") for variable in config["Env"])


def test_a_bottle_with_a_gateway_is_one_bottle(launch: Launch, backend: DockerBackend) -> None:
    bottle = launch(routes=ROUTES)
    assert [(agent.slug, agent.state) for agent in backend.enumerate_active()] == [(bottle.slug, "running")]
    assert not backend.prepare_cleanup()


def test_stop_removes_all_of_it(launch: Launch, backend: DockerBackend, engine: Engine) -> None:
    bottle = launch(routes=ROUTES)
    assert len(engine.objects(bottle.name)) >= 3
    backend.stop(bottle.slug)
    assert engine.objects(bottle.name) == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("step", "count"),
    [
        *(("create_container_from_config", n) for n in (1, 2, 3)),
        *(("start", n) for n in (1, 2, 3)),
        ("attach_socket", 1),
    ],
)
def test_an_exception_at_any_request_leaves_nothing(
    nothing_left: None,
    backend: DockerBackend,
    prepare: Plan,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    count: int,
    when: str,
) -> None:
    real, calls = getattr(docker.APIClient, step), []

    def failing(self: docker.APIClient, *args: Any, **options: Any) -> Any:
        calls.append(1)
        mine = len(calls) == count
        if not mine or when == "after":
            result = real(self, *args, **options)
        if mine:
            raise docker.errors.APIError("as tested")
        return result

    monkeypatch.setattr(docker.APIClient, step, failing)
    with pytest.raises(Exception, match="as tested"), backend.launch(prepare(routes=ROUTES)):
        pytest.fail("it was launched")


@pytest.mark.parametrize("step", ["_attached", "_create_handoff", "_hand_off", "wait_served", "open"])
def test_an_interrupt_leaves_nothing(
    nothing_left: None,
    backend: DockerBackend,
    prepare: Plan,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    real = getattr(gateway_module.Gateway, step)

    def interrupted(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(gateway_module.Gateway, step, interrupted)
    with pytest.raises(KeyboardInterrupt), backend.launch(prepare(routes=ROUTES)):
        time.sleep(20)  # it comes while the launch goes on, or at the latest now


def test_provisioning_that_fails_leaves_nothing(
    nothing_left: None, backend: DockerBackend, prepare: Plan, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Stop

    monkeypatch.setattr("bb_jupyter.agent.provisioning.provision_ca", fail)
    with pytest.raises(Stop), backend.launch(prepare(routes=ROUTES, keep=True)):
        pytest.fail("it was launched")


def test_a_provider_may_bring_the_certificate_in_its_own_way(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bb_jupyter.agent.provisioning.provision_ca", lambda *_: None)
    bottle = launch(routes=ROUTES)
    assert out(bottle, "ls -A .bottle; ps -eo args | grep '[c]a.pem' || :") == ""


@contextlib.contextmanager
def killed_process(name: str, *options: str) -> Iterator[None]:
    """Launch in a process that is killed."""
    child = subprocess.Popen([sys.executable, "-c", _CHILD, name, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
    finally:
        child.kill()
        child.wait()
    yield


def test_a_killed_kernels_gateway_ends_by_itself_and_is_cleaned_up(
    nothing_left: None, backend: DockerBackend, bottle_name: str, engine: Engine, api: docker.APIClient
) -> None:
    with killed_process(bottle_name):
        orphans = backend.prepare_cleanup()
        assert sorted({orphan.kind for orphan in orphans.orphans}) == ["container", "state", "volume"]
        slug = orphans.orphans[0].slug
        until(lambda: containers_of(api, slug)["gateway"]["State"]["Status"] == "exited")
        backend.cleanup(backend.prepare_cleanup())
        assert not backend.prepare_cleanup()


@pytest.fixture
def kept(nothing_left: None, bottle_name: str, engine: Engine) -> Iterator[str]:
    """A kept bottle whose kernel was killed."""
    with killed_process(bottle_name, "keep"):
        try:
            yield bottle_name
        finally:
            Session().stop(bottle_name)


def test_a_kept_bottles_gateway_is_taken_over(kept: str, backend: DockerBackend, api: docker.APIClient) -> None:
    backend.cleanup(backend.prepare_cleanup())  # the handoff, if it was not gone yet
    (active,) = [agent for agent in backend.enumerate_active() if agent.name == kept]
    unheard = ["sh", "-c", f"{_REFUSED.replace('other', 'unheard')} --proxy http://egress:3128"]
    api.exec_start(api.exec_create(f"bb-{active.slug}", unheard)["Id"])
    session = Session()
    handle = session.attach(kept)
    network = handle.bottle.network
    assert (network.state, network.generation) == ("open", 1)
    assert network.routes is not None
    assert [route.host for route in network.routes.routes] == ["ok.test"]
    assert handle.plan.egress_plan == network.routes
    assert "no-route" in out(handle.bottle, _REFUSED)
    assert handle.allow("more.test") == 2
    network.sync()
    events = audit_log.read(kept)
    assert [event["host"] for event in events if event["event"] == "egress"] == ["unheard.test", "other.test"]
    session.close()
    again = Session().attach(kept).bottle.network
    assert again.generation == 2
    assert again.routes is not None
    assert {route.host for route in again.routes.routes} == {"ok.test", "more.test"}
    again.release()


def test_a_kept_bottle_whose_gateway_died_meanwhile_gets_another(kept: str, api: docker.APIClient) -> None:
    (active,) = [agent for agent in Session().active() if agent.name == kept]
    api.kill(containers_of(api, active.slug)["gateway"]["Id"])
    until(lambda: [agent.state for agent in Session().active() if agent.name == kept] == ["no gateway"])
    handle = Session().attach(kept)
    assert handle.bottle.network.state == "lost"
    handle.allow("more.test")
    assert handle.bottle.network.state == "open"
    assert {route.host for route in handle.bottle.network.routes.routes} == {"ok.test", "more.test"}  # type: ignore[union-attr]
    assert "no-route" in out(handle.bottle, _REFUSED)
    assert [agent.state for agent in Session().active() if agent.name == kept] == ["running"]


def test_a_kept_bottle_that_ended_with_its_engine_gets_another_gateway(kept: str, api: docker.APIClient) -> None:
    (active,) = [agent for agent in Session().active() if agent.name == kept]
    for container in containers_of(api, active.slug).values():
        with contextlib.suppress(docker.errors.APIError):  # the handoff ends by itself
            api.kill(container["Id"])
    until(lambda: [agent.state for agent in Session().active() if agent.name == kept] == ["stopped"])
    handle = Session().attach(kept)
    assert handle.bottle.network.state == "lost"
    assert "no-route" not in handle.exec(["sh", "-c", f"{_REFUSED} 2>&1"]).wait().stdout.decode()
    handle.allow("more.test")
    assert handle.bottle.network.state == "open"
    assert "no-route" in out(handle.bottle, _REFUSED)


def test_a_dead_owners_handoff_is_an_orphan_and_a_kept_bottle_is_not(
    nothing_left: None, backend: DockerBackend, prepare: Plan, api: docker.APIClient, engine: Engine
) -> None:
    from bb_jupyter.backend.shared.container_engine import labels

    plan = prepare(keep=True, routes=ROUTES)
    record = claim(plan, dead_owner())
    try:
        with backend.launch(plan):
            pass
        _make_handoff(api, plan, labels.of_plan(plan, labels.HANDOFF), engine)
        orphans = backend.prepare_cleanup()
        assert [(orphan.slug, orphan.kind) for orphan in orphans.orphans] == [(plan.slug, "container")]
        backend.cleanup(orphans)
        assert "bottle" in containers_of(api, plan.slug)
    finally:
        backend.stop(plan.slug)
        record.remove()


def _make_handoff(api: docker.APIClient, plan: ContainerBottlePlan, told: dict[str, str], engine: Engine) -> None:
    until(lambda: "handoff" not in containers_of(api, plan.slug))
    api.create_container(
        engine.base_image, ["true"], labels=told | {"bb-jupyter.owner": json.dumps(dead_owner().to_dict())}
    )


def test_the_first_host_that_is_allowed_may_be_forbidden_again(launch: Launch, engine: Engine) -> None:
    bottle = launch()
    assert [kind.split()[0] for kind in engine.objects(bottle.name)] == ["container"]
    assert bottle.allow(EgressPlan((RoutePlan("ok.test"),))) == 1
    assert bottle.allow(EgressPlan()) == 2
    assert "no-route" in out(bottle, _REFUSED)


def test_an_engine_elsewhere_will_do(over_tcp: str, launch: Launch) -> None:  # noqa: F811
    bottle = launch(routes=ROUTES)
    assert "no-route" in out(bottle, _REFUSED)
    assert bottle.allow(EgressPlan((RoutePlan("other.test"),))) == 2
    assert "no-route" not in out(bottle, _REFUSED)


def test_a_session_hears_of_a_gateways_death(
    nothing_left: None, engine: Engine, bottle_name: str, api: docker.APIClient
) -> None:
    session = Session()
    with session.launch(bottle_name, LaunchOptions(backend="docker", allow=("ok.test",))) as handle:
        api.remove_container(containers_of(api, handle.plan.slug)["gateway"]["Id"], force=True)
        until(lambda: handle.bottle.network.state == "lost")
        until(lambda: [bottle.state for bottle in session.active() if bottle.name == bottle_name] == ["no gateway"])
