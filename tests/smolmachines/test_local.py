"""The local target: the SDK's own code down to its native engine, which is played where no microVM boots."""

from __future__ import annotations

import inspect
import socket
import tempfile
from pathlib import Path

import pytest
import smol
from smol import _native

from bb_jupyter.backend import registry, state
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.errors import BackendUnavailable, UsageError
from bb_jupyter.manifest import Limits
from tests.contract.conftest import out, sh
from tests.smolmachines import native
from tests.smolmachines.local_fixtures import bottle, options, root, session
from tests.smolmachines.native import Machine, answers

__all__ = ["bottle", "options", "root", "session"]

pytestmark = [pytest.mark.smolmachines, pytest.mark.bubblewrap]


def test_what_is_asked_of_the_engine(bottle: BottleHandle, root: Path) -> None:
    (machine,) = Machine.machines.values()
    assert machine.name == f"bb-{bottle.plan.slug}"
    assert machine.config["image"] == str(root)
    assert machine.config["labels"]["bb-jupyter.slug"] == bottle.plan.slug
    assert (machine.config["persistent"], machine.config["detached"], machine.config["forkable"]) == (False,) * 3
    resources = machine.config["resources"]
    assert resources["allowed_cidrs"] == ["192.0.2.1/32"]
    assert resources["allowed_hosts"] == ["bottle.invalid"]
    assert "network" not in resources
    assert machine.interceptor is not None
    assert machine.interceptor[0].startswith("127.0.0.1:")
    assert len(machine.interceptor[1]) == 64
    assert "credentials" not in machine.config
    assert "mounts" not in machine.config


def test_commands_and_files(bottle: BottleHandle, tmp_path: Path) -> None:
    assert out(bottle, "id -u; pwd") == "1000\n/home/agent\n"
    assert sh(bottle, "cat; exit 3", stdin=bytes(range(256))).stdout == bytes(range(256))
    (tmp_path / "in").write_bytes(b"\0\xff" * 500_000)
    bottle.cp_in(tmp_path / "in", "here")
    bottle.cp_out("here", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
    execution = bottle.exec(["sleep", "100"])
    execution.kill()
    assert execution.wait().killed
    with pytest.raises(UsageError, match="nobody"):
        bottle.exec(["true"], user="nobody-of-that-name").wait()


def test_listed_stopped_and_cleaned_up(session: Session, bottle: BottleHandle) -> None:
    (agent,) = registry.get("smolmachines").enumerate_active()
    assert (agent.name, agent.slug, agent.state) == (bottle.name, bottle.plan.slug, "running")
    assert not registry.get("smolmachines").prepare_cleanup()
    bottle.stop()
    assert not Machine.machines
    assert not registry.get("smolmachines").enumerate_active()


def test_branches_copy_the_home(bottle: BottleHandle) -> None:
    out(bottle, "mkdir -p a/b; echo 42 > a/b/c; ln -s b/c a/link; chmod 700 a/b")
    one, two = bottle.branch(2)
    assert out(one, "cat a/link; stat -c %a a/b; echo 43 > a/b/c") == "42\n700\n"
    assert (out(two, "cat a/link"), out(bottle, "cat a/link")) == ("42\n", "42\n")
    assert len({machine.interceptor for machine in Machine.machines.values()}) == 3


def test_a_kept_machine_is_detached_and_its_door_opened_again(
    session: Session, bottle_name: str, options: dict[str, object]
) -> None:
    kept = session.launch(bottle_name, LaunchOptions(**options, keep=True))  # type: ignore[arg-type]
    (machine,) = Machine.machines.values()
    assert (machine.config["persistent"], machine.config["detached"]) == (True, True)
    out(kept, "echo 42 > answer")
    kept.allow("new.test")
    assert answers(3128)
    session.close()
    assert machine.interceptor is not None
    port = int(machine.interceptor[0].rpartition(":")[2])
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", port)).close()
    again = session.attach(bottle_name)
    assert out(again, "cat answer") == "42\n"
    assert answers(3128)
    assert [route.host for route in again.bottle.network.routes.routes] == ["new.test"]  # type: ignore[union-attr]
    again.stop()


def test_an_engine_that_does_not_boot_is_said_and_leaves_nothing(
    session: Session, bottle_name: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Machine, *_: object) -> None:
        raise RuntimeError("[KVM_UNAVAILABLE] no usable /dev/kvm")

    monkeypatch.setattr(Machine, "start", fail)
    with pytest.raises(BackendUnavailable, match="no usable /dev/kvm") as caught:
        session.launch(bottle_name, LaunchOptions(**options))  # type: ignore[arg-type]
    assert "doctor" in caught.value.hint
    assert not state.records()


def test_an_image_that_is_not_there_is_said(session: Session, bottle_name: str) -> None:
    with pytest.raises(UsageError, match="there is no image /nowhere"):
        session.plan(bottle_name, LaunchOptions(backend="smolmachines", image="/nowhere"))


@pytest.mark.docker
def test_an_image_of_the_engine_is_saved_once(
    session: Session, bottle_name: str, engine: object, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOT_BOTTLE_BASE_IMAGE", engine.busybox_image)  # type: ignore[attr-defined]
    for name in (bottle_name, f"{bottle_name}b"):
        session.launch(name, LaunchOptions(backend="smolmachines"))
    (archive,) = (home / "images").iterdir()
    assert {machine.config["image"] for machine in Machine.machines.values()} == {str(archive)}
    assert archive.stat().st_size > 100_000


def test_without_an_engine_an_image_of_a_registry_is_refused(
    session: Session, bottle_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(BackendUnavailable, match="cannot be made a machine's") as caught:
        session.launch(bottle_name, LaunchOptions(backend="smolmachines", image="debian:x"))
    assert "docker-archive" in caught.value.hint
    assert not state.records()


def test_the_preflight_says_where_it_runs(session: Session, bottle_name: str, options: dict[str, object]) -> None:
    plan = session.plan(bottle_name, LaunchOptions(**options, limits=Limits(pids=9, disk=1 << 29)))  # type: ignore[arg-type]
    text = plan.text()
    assert "in a virtual machine on this host" in text
    assert "pids 9 (rlimit of its user)" in text
    assert "disk 512 MiB NOT ENFORCED here" in text
    assert (plan.git_gate_insteadof_host, plan.git_gate_insteadof_scheme) == ("192.0.2.1:9418", "http")


# What follows fails when an SDK changes what the local path calls.


def test_the_played_engine_takes_what_the_real_one_takes() -> None:
    real, played = native.signatures(_native.Machine), native.signatures(Machine)
    assert {name: real.get(name) for name in played} == played
    summary = {name for name in dir(_native.LocalMachineSummary) if not name.startswith("_")}
    (listed,) = _one_listed()
    assert set(vars(listed)) == summary
    assert callable(_native.ExecStream.kill)


def _one_listed() -> list[object]:
    config = {"name": "x", "persistent": False, "detached": False, "forkable": False, "resources": {"memory_mib": 1}}
    machine = Machine(config)
    try:
        return [*Machine.list()]
    finally:
        machine.delete()


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (smol.Machine.create, ["config", "conn"]),
        (smol.Machine.open, ["machine_id", "conn"]),
        (smol.Machine.list, ["conn", "labels"]),
        (smol.Machine.probe, ["conn"]),
        (smol.Machine.delete_by_name, ["machine_id", "conn", "drain_secs"]),
        (smol.Machine.exec, ["self", "command", "opts"]),
        (smol.Machine.exec_stream, ["self", "command", "opts"]),
        (smol.Machine.write_file, ["self", "path", "data", "mode"]),
        (smol.Machine.state, ["self"]),
        (smol.Machine.branch, ["self", "name", "ports", "branchable", "checkpointable", "freeze_source"]),
        (smol.local_availability, []),
    ],
)
def test_what_is_called_is_there(function: object, arguments: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == arguments  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (smol.MachineConfig, "name image labels command resources persistent detach ready_timeout_seconds "
                             "branchable egress_interceptor credentials"),
        (smol.ResourceSpec, "cpus memory_mb storage_gb overlay_gb network allow_cidrs allow_hosts"),
        (smol.CredentialSpec, "name env_var hosts value"),
        (smol.ExecOptions, "env user stdin timeout"),
        (smol.ConnectOptions, "target"),
        (smol.EgressInterceptor, "address token"),
        (smol.MachineSummary, "id name state labels"),
    ],
)  # fmt: skip
def test_the_types_have_what_is_given(kind: type, fields: str) -> None:
    assert set(fields.split()) <= set(inspect.signature(kind).parameters)


def test_the_real_engine_takes_our_configuration(
    session: Session, bottle_name: str, options: dict[str, object], root: Path
) -> None:
    """Nothing boots: the engine checks a configuration and writes a record, in a home of its own."""
    import subprocess
    import sys

    bottle = session.launch(bottle_name, LaunchOptions(**options, limits=Limits(cpus=1, disk=1 << 30)))  # type: ignore[arg-type]
    config = Machine.machines[bottle.plan.machine].config  # type: ignore[attr-defined]
    program = (
        f"from smol import _native; m = _native.Machine({config!r}); assert m.state() == 'stopped'; m.delete(None)"
    )
    with tempfile.TemporaryDirectory() as folder:
        env = {"HOME": folder, "PATH": "/usr/bin:/bin"}
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
