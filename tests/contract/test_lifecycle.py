"""Promises of a bottle's life: it ends and nothing stays; names are unique; live bottles are never touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bb_jupyter.backend import registry, state
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.errors import BottleError, BottleGone, NameTaken, UsageError
from tests.contract.conftest import Launch, out
from tests.contract.test_exec import assert_soon

_CHILD = """
import sys
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import current
name, backend, ending = sys.argv[1:]
held = current().launch(name, LaunchOptions(backend=backend))
held.exec(["sh", "-c", "sleep 300"])
print("up", flush=True)
sys.stdin.read()
if ending == "raise": raise SystemExit(1)
"""


def other_process(name: str, backend: str, ending: str = "") -> subprocess.Popen[str]:
    """Hold a bottle in a process of its own until its input is closed."""
    argv = [sys.executable, "-c", _CHILD, name, backend, ending]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_a_bottle_is_listed_while_it_lives(bottle: BottleHandle, session: Session) -> None:
    (agent,) = [agent for agent in session.active() if agent.name == bottle.name]
    assert (agent.slug, agent.backend, agent.state) == (bottle.plan.slug, bottle.plan.spec.backend, "running")
    assert agent.owner.pid == os.getpid()
    bottle.stop()
    assert bottle.name not in [agent.name for agent in session.active()]


def test_stop_may_be_said_twice(bottle: BottleHandle, session: Session) -> None:
    bottle.stop()
    with pytest.raises(UsageError):
        session.stop(bottle.name)


def test_the_with_block_stops(launch: Launch) -> None:
    with launch() as bottle:
        assert out(bottle, "echo x") == "x\n"
    assert not bottle.bottle.alive


def test_prepare_has_no_side_effects(session: Session, backend: str, bottle_name: str, home: Path) -> None:
    plan = session.plan(bottle_name, LaunchOptions(backend=backend))
    assert f"bottle {bottle_name}" in plan.text()
    assert "network" in plan.text()
    assert plan._repr_html_().startswith("<table")
    assert not list((home / "state").glob("[a-z0-9]*"))


def test_a_name_of_this_process_is_taken(bottle: BottleHandle, launch: Launch) -> None:
    with pytest.raises(NameTaken, match=str(os.getpid())):
        launch()


def test_a_name_of_another_process_is_taken_and_its_bottle_is_safe(
    session: Session, launch: Launch, backend: str, bottle_name: str
) -> None:
    other = other_process(bottle_name, backend)
    try:
        with pytest.raises(NameTaken, match=f"process {other.pid}"):
            launch()
        with pytest.raises(UsageError, match=f"process {other.pid}"):
            session.stop(bottle_name)
        assert not [line for line in session.cleanup() if bottle_name in line]
        assert bottle_name in [agent.name for agent in session.active()]
    finally:
        other.communicate("")


@pytest.mark.parametrize("ending", ["", "raise"])
def test_the_end_of_the_process_ends_its_bottles(session: Session, backend: str, bottle_name: str, ending: str) -> None:
    other_process(bottle_name, backend, ending).communicate("")
    assert bottle_name not in [agent.name for agent in session.active()]
    assert not session.cleanup(dry_run=True)


def test_cleanup_finds_what_a_killed_process_left(session: Session, backend: str, bottle_name: str, home: Path) -> None:
    other = other_process(bottle_name, backend)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert [line for line in session.cleanup(dry_run=True) if bottle_name in line]
    assert [record.name for record in state.records()] == [bottle_name]
    session.cleanup()
    assert not session.cleanup(dry_run=True)
    session.cleanup()


def test_the_name_of_a_killed_process_is_free_again(launch: Launch, backend: str, bottle_name: str) -> None:
    other = other_process(bottle_name, backend)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    assert out(launch(), "echo new") == "new\n"


def test_a_rebooted_machine_leaves_orphans_only(session: Session, bottle: BottleHandle) -> None:
    file = state.state_dir() / bottle.plan.slug / "bottle.json"
    old = json.loads(file.read_text())
    old["slug"], old["name"] = "rebooted-00000000", "rebooted"
    old["owner"]["boot_id"] = "another"
    (state.state_dir() / old["slug"]).mkdir()
    (state.state_dir() / old["slug"] / "bottle.json").write_text(json.dumps(old))
    assert [line for line in session.cleanup() if "rebooted" in line]
    assert [record.name for record in state.records()] == [bottle.name]
    assert out(bottle, "echo x") == "x\n"


def test_another_hosts_bottle_is_not_touched(session: Session, bottle: BottleHandle) -> None:
    file = state.state_dir() / bottle.plan.slug / "bottle.json"
    foreign = json.loads(file.read_text())
    foreign["slug"], foreign["name"] = "foreign-00000000", "foreign"
    foreign["owner"].update(host="elsewhere", boot_id="another")
    folder = state.state_dir() / foreign["slug"]
    folder.mkdir()
    (folder / "bottle.json").write_text(json.dumps(foreign))
    assert not session.cleanup()
    assert folder.exists()


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt(), BottleError("no")])
@pytest.mark.parametrize("step", ["start", "copy in"])
def test_a_failure_in_the_launch_leaves_nothing(
    session: Session, backend: str, bottle_name: str, home: Path, step: str, error: BaseException
) -> None:
    (home / "file").write_text("x")

    def fail(progress: object) -> None:
        if getattr(progress, "stage", "") == step:
            raise error

    options = LaunchOptions(backend=backend, copy=(f"{home}/file",))
    with pytest.raises(type(error)):
        session.launch(bottle_name, options, on_progress=fail)
    assert not state.records()


def test_an_error_of_the_preflight_leaves_nothing(session: Session, backend: str, bottle_name: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        session.launch(bottle_name, LaunchOptions(backend=backend), on_plan=_interrupt)
    assert not state.records()


def _interrupt(_: object) -> None:
    raise KeyboardInterrupt


def test_a_bottle_stopped_elsewhere_is_gone(session: Session, bottle: BottleHandle) -> None:
    registry.get(bottle.plan.spec.backend).stop(bottle.plan.slug)
    assert_soon(lambda: not bottle.bottle.alive)
    with pytest.raises(BottleGone):
        session.get(bottle.name)
    assert bottle.name not in [handle.name for handle in session.handles()]


def test_many_bottles_stop_together(session: Session, launch: Launch, bottle_name: str) -> None:
    for number in range(8):
        launch(f"{bottle_name}-{number}")
    assert len(session.stop_all()) == 8
    assert not session.handles()
    assert not state.records()


@pytest.mark.parametrize("name", ["", "UPPER", "a b", "../x", "-x", "x" * 60, "ü", "a/b", "a\nb"])
def test_bad_names_are_refused(launch: Launch, name: str) -> None:
    with pytest.raises(UsageError):
        launch(name)
