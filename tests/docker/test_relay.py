"""The relay of a broker: a container that can do nothing else; a broker that outlives the kernel of a kept bottle."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from bb_jupyter import manifest
from bb_jupyter.backend import state
from bb_jupyter.backend.docker.backend import DockerBackend
from bb_jupyter.backend.shared.bottle_broker import BottleBroker
from bb_jupyter.backend.shared.container_engine import broker_relay as relay_module
from bb_jupyter.core.session import Session
from bb_jupyter.errors import UsageError
from bb_jupyter.gateway.audit import audit_log
from bb_jupyter.gateway.control.gateway_client import Event
from bb_jupyter.manifest import BottleManifest, allowed_route
from bb_jupyter.process import procfs
from tests.docker.conftest import Launch, Plan, out, until
from tests.docker.test_engine import over_tcp, over_tls  # noqa: F401 - the fixtures
from tests.docker.test_gateway import containers_of
from tests.leftovers import Engine
from tests.tools.broker import CURL, GIT, IN_CHILD, SUPERVISE, stand_in

_PLAIN, _GATE = f"{CURL} {SUPERVISE}/a", f"{CURL} {GIT}/a"
_MEMORY = "import re, pathlib; print(re.search(r'VmHWM:\\s*(\\d+)', pathlib.Path('/proc/1/status').read_text())[1])"
_CHILD = (
    IN_CHILD
    + """
import os, sys, time
from bb_jupyter import manifest
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import current
os.system("git init -q --bare $BOT_BOTTLE_HOME/up.git")
manifest.define_bottle("d", f"git-gate: {{repos: {{widgets: {{url: {os.environ['BOT_BOTTLE_HOME']}/up.git}}}}}}")
current().launch(sys.argv[1], LaunchOptions(backend="docker", bottle="d", keep=sys.argv[2:] == ["keep"]))
print("up", flush=True)
time.sleep(600)
"""
)


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)


@pytest.fixture
def supervised() -> BottleManifest:
    return manifest.define_bottle("relayed", "supervise: true")


@pytest.fixture
def gated(tmp_path: Path) -> BottleManifest:
    """A bottle with a broker and without a gateway."""
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "up.git"], check=True)
    return manifest.define_bottle("relayed-gate", f"git-gate: {{repos: {{widgets: {{url: {tmp_path / 'up.git'}}}}}}}")


def test_the_relays_container_can_do_nothing_but_relay(
    launch: Launch, gated: BottleManifest, api: docker.APIClient, engine: Engine
) -> None:
    bottle = launch(manifest=gated)
    found = containers_of(api, bottle.slug)
    assert {*found} == {"bottle", "relay"}
    host, config = found["relay"]["HostConfig"], found["relay"]["Config"]
    # Engines tell it by name or by id.
    assert host["NetworkMode"] in {f"container:{which}" for which in (f"bb-{bottle.slug}", found["bottle"]["Id"])}
    assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False)
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["LogConfig"]["Type"] == "none"
    assert not host["Binds"]
    assert not host["PortBindings"]
    assert not found["relay"]["Mounts"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert config["User"] == "65532:65532"
    assert config["Cmd"][1:] == ["-E", "-S", "-m", "bb_jupyter.gateway.handoff.mux", "git-gate"]
    assert [each.split()[0] for each in engine.objects(bottle.name)] == ["container", "container"]


def test_large_streams_take_no_memory_there(launch: Launch, supervised: BottleManifest, api: docker.APIClient) -> None:
    bottle = launch(manifest=supervised)
    assert out(bottle, f"{CURL} '{SUPERVISE}/big?100' | wc -c").strip() == str(100 << 20)
    out(bottle, f"head -c 80000000 /dev/zero | {CURL} -T - {SUPERVISE}/up")
    relay = containers_of(api, bottle.slug)["relay"]["Id"]
    command = ["/opt/gateway/bin/python", "-c", _MEMORY]
    used = int(api.exec_start(api.exec_create(relay, command)["Id"]))
    assert used << 10 < 64 << 20


def test_an_engine_elsewhere_will_do(over_tcp: str, launch: Launch, supervised: BottleManifest) -> None:  # noqa: F811
    bottle = launch(manifest=supervised)
    assert out(bottle, _PLAIN) == f"supervise {bottle.name} GET /a 0\n"
    assert out(bottle, f"{CURL} '{SUPERVISE}/big?20' | wc -c").strip() == str(20 << 20)


def test_an_engine_elsewhere_behind_tls_will_do(
    over_tls: str,  # noqa: F811
    launch: Launch,
    supervised: BottleManifest,
) -> None:
    bottle = launch(manifest=supervised)
    assert out(bottle, _PLAIN) == f"supervise {bottle.name} GET /a 0\n"
    assert out(bottle, f"{CURL} '{SUPERVISE}/big?5' | wc -c").strip() == str(5 << 20)


def test_the_broker_does_not_care_about_the_gateway(
    launch: Launch, supervised: BottleManifest, api: docker.APIClient
) -> None:
    bottle = launch(manifest=supervised, routes=(allowed_route("ok.test"),))
    api.kill(containers_of(api, bottle.slug)["gateway"]["Id"])
    until(lambda: bottle.network.state == "lost")
    assert out(bottle, _PLAIN)
    assert bottle.network.routes is not None
    bottle.allow(bottle.network.routes)
    assert "no-route" in out(bottle, f"{CURL} -i http://other.test/")
    assert out(bottle, _PLAIN)


def test_a_relay_that_is_killed_gets_a_new_one_with_a_new_broker(
    launch: Launch, supervised: BottleManifest, api: docker.APIClient, backend: DockerBackend
) -> None:
    bottle = launch(manifest=supervised)
    heard: list[Event] = []
    bottle.broker.events.append(heard.append)
    api.kill(containers_of(api, bottle.slug)["relay"]["Id"])
    until(lambda: "broker-restarted" in [event["event"] for event in heard])
    assert out(bottle, _PLAIN) == f"supervise {bottle.name} GET /a 0\n"
    assert [agent.state for agent in backend.enumerate_active()] == ["running"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("step", "count"), [("create_container_from_config", 1), ("create_container_from_config", 2), ("start", 1)]
)
def test_an_exception_at_any_request_leaves_nothing(
    nothing_left: None,
    backend: DockerBackend,
    prepare: Plan,
    engine: Engine,
    gated: BottleManifest,
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
    with pytest.raises(Exception, match="as tested"), backend.launch(prepare(manifest=gated, keep=True)):
        pytest.fail("it was launched")


@pytest.mark.parametrize("where", ["start_broker", "_create", "serve"])
def test_an_interrupt_leaves_nothing(
    nothing_left: None,
    backend: DockerBackend,
    prepare: Plan,
    engine: Engine,
    gated: BottleManifest,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    real = getattr(relay_module.Relay, where)

    def interrupted(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return real(*args)

    monkeypatch.setattr(relay_module.Relay, where, interrupted)
    with pytest.raises(KeyboardInterrupt), backend.launch(prepare(manifest=gated, keep=True)):
        time.sleep(20)  # it comes while the launch goes on, or at the latest now


def test_a_relay_that_does_not_start_says_why(
    nothing_left: None,
    backend: DockerBackend,
    prepare: Plan,
    engine: Engine,
    gated: BottleManifest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_module, "services", lambda plan: ("no-room",))
    with pytest.raises(Exception, match="broker"), backend.launch(prepare(manifest=gated)):
        pytest.fail("it was launched")


@contextlib.contextmanager
def killed_process(name: str, *options: str) -> Iterator[state.BottleRecord]:
    """Launch in a process that is killed."""
    child = subprocess.Popen([sys.executable, "-c", _CHILD, name, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
    finally:
        child.kill()
        child.wait()
    (record,) = state.records()
    yield record


@pytest.fixture
def kept(nothing_left: None, bottle_name: str, engine: Engine) -> Iterator[state.BottleRecord]:
    """A kept bottle whose kernel was killed."""
    with killed_process(bottle_name, "keep") as record:
        try:
            yield record
        finally:
            with contextlib.suppress(UsageError):  # the test has stopped it
                Session().stop(bottle_name)


def _exec(api: docker.APIClient, slug: str, script: str) -> str:
    answer: bytes = api.exec_start(api.exec_create(f"bb-{slug}", ["sh", "-c", script])["Id"])
    return answer.decode()


def test_a_kept_bottles_broker_outlives_its_kernel_and_tells_who_attaches(
    kept: state.BottleRecord, backend: DockerBackend, api: docker.APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not backend.prepare_cleanup()
    assert _exec(api, kept.slug, f"{CURL} {GIT}/emit") == f"git-gate {kept.name} GET /emit 0\n"
    heard: list[Event] = []
    real = BottleBroker._on_event
    monkeypatch.setattr(BottleBroker, "_on_event", lambda *told: (heard.append(told[-1]), real(*told)))
    session = Session()
    handle = session.attach(kept.name)
    assert handle.bottle.broker.state == "open"
    until(lambda: [event["event"] for event in heard if event["event"] == "told"] == ["told"])
    assert out(handle.bottle, _GATE) == f"git-gate {kept.name} GET /a 0\n"
    session.close()
    assert _exec(api, kept.slug, _GATE) == f"git-gate {kept.name} GET /a 0\n"
    assert [agent.state for agent in backend.enumerate_active()] == ["running"]


def test_a_kept_bottle_whose_broker_died_meanwhile_gets_another(
    kept: state.BottleRecord, backend: DockerBackend, api: docker.APIClient
) -> None:
    os.kill(kept.details["broker"]["pid"], signal.SIGKILL)
    until(lambda: [agent.state for agent in backend.enumerate_active()] == ["no broker"])
    handle = Session().attach(kept.name)
    assert handle.bottle.broker.state == "open"
    assert out(handle.bottle, _GATE) == f"git-gate {kept.name} GET /a 0\n"
    assert [agent.state for agent in backend.enumerate_active()] == ["running"]


def test_a_kept_bottle_that_its_engine_stopped_gets_another_broker(
    kept: state.BottleRecord, backend: DockerBackend, api: docker.APIClient
) -> None:
    for container in containers_of(api, kept.slug).values():
        api.kill(container["Id"])
    handle = Session().attach(kept.name)
    assert out(handle.bottle, _GATE) == f"git-gate {kept.name} GET /a 0\n"


def test_stop_ends_a_broker_that_nobody_holds(kept: state.BottleRecord) -> None:
    Session().stop(kept.name)
    assert procfs.start_time(kept.details["broker"]["pid"]) is None
    assert "broker-stopped" in [event["event"] for event in audit_log.read(kept.name)]


def test_cleanup_ends_the_broker_of_a_kept_bottle_that_somebody_removed(
    nothing_left: None, bottle_name: str, backend: DockerBackend, api: docker.APIClient, engine: Engine
) -> None:
    with killed_process(bottle_name, "keep") as record:
        api.remove_container(f"bb-{record.slug}", force=True)
        kinds = {orphan.kind for orphan in backend.prepare_cleanup().orphans}
        assert "container" in kinds
        backend.cleanup(backend.prepare_cleanup())
        backend.cleanup(backend.prepare_cleanup())
        assert not backend.prepare_cleanup()
