"""Bottles that outlive their process, and what dead processes leave."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from bb_jupyter.backend import state
from bb_jupyter.backend.docker.backend import DockerBackend
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.errors import BottleGone, NameTaken
from bb_jupyter.manifest import Limits
from bb_jupyter.process.identity import ProcessIdentity
from tests.docker.conftest import Plan, claim, dead_owner, out, until


@pytest.fixture
def kept(nothing_left: None, backend: DockerBackend, prepare: Plan) -> Iterator[ContainerBottlePlan]:
    """A kept bottle that nobody holds."""
    plan = prepare(keep=True, cwd="/tmp", env={"WORD": "kept"}, limits=Limits(timeout=77, pids=100))
    record = claim(plan, dead_owner())
    try:
        with backend.launch(plan) as bottle:
            out(bottle, "echo 42 > ~/answer")
        yield plan
    finally:
        backend.stop(plan.slug)
        record.remove()


def test_a_kept_bottle_outlives_its_context_and_is_held_again(
    kept: ContainerBottlePlan, backend: DockerBackend
) -> None:
    with backend.attach(kept.slug) as bottle:
        assert out(bottle, "cat ~/answer; pwd; echo $WORD") == "42\n/tmp\nkept\n"
        assert bottle.name == kept.spec.name
        assert bottle.plan.spec.limits == kept.spec.limits
        assert bottle.plan.root == kept.root
    assert bottle.alive


def test_it_is_no_orphan(kept: ContainerBottlePlan, backend: DockerBackend) -> None:
    assert not backend.prepare_cleanup()
    assert [(agent.slug, agent.keep) for agent in backend.enumerate_active()] == [(kept.slug, True)]


def test_who_attached_is_its_owner(kept: ContainerBottlePlan, backend: DockerBackend) -> None:
    from bb_jupyter.process.identity import ProcessIdentity

    (record,) = state.records()
    state.take_over(record, ProcessIdentity.current())
    assert [agent.owner for agent in backend.enumerate_active()] == [ProcessIdentity.current()]


def test_one_that_its_engine_stopped_is_listed_and_starts_again_where_somebody_attaches(
    kept: ContainerBottlePlan, backend: DockerBackend, api: docker.APIClient
) -> None:
    api.kill(kept.container)
    until(lambda: [agent.state for agent in backend.enumerate_active()] == ["stopped"])
    session = Session()
    with pytest.raises(NameTaken, match=f"%bottle attach {kept.spec.name}"):
        session.launch(kept.spec.name, LaunchOptions(backend="docker"))
    handle = session.attach(kept.spec.name)
    assert out(handle.bottle, "cat ~/answer; pwd; echo $WORD") == "42\n/tmp\nkept\n"
    assert [agent.state for agent in backend.enumerate_active()] == ["running"]
    api.kill(kept.container)
    until(lambda: not handle.bottle.alive)
    assert not backend.prepare_cleanup(), "its owner lives"
    with pytest.raises(BottleGone, match=f"%bottle attach {kept.spec.name}"):
        session.get(kept.spec.name)
    assert out(session.attach(kept.spec.name).bottle, "cat ~/answer") == "42\n"
    session.close()


def test_one_that_its_engine_stopped_and_nobody_holds_is_cleaned_up(
    kept: ContainerBottlePlan, backend: DockerBackend, api: docker.APIClient
) -> None:
    api.kill(kept.container)
    until(lambda: bool(backend.prepare_cleanup()))
    orphans = backend.prepare_cleanup()
    assert [(orphan.slug, orphan.kind) for orphan in orphans.orphans] == [
        (kept.slug, "container"),
        (kept.slug, "state"),
    ]
    backend.cleanup(orphans)
    assert not backend.enumerate_active() and not state.records()


def test_one_that_was_removed_elsewhere_is_gone(
    kept: ContainerBottlePlan, backend: DockerBackend, api: docker.APIClient
) -> None:
    api.remove_container(kept.container, force=True)
    with pytest.raises(BottleGone), backend.attach(kept.slug):
        pytest.fail("it was attached")


def test_another_users_is_not_attached(
    kept: ContainerBottlePlan, backend: DockerBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("BOT_BOTTLE_HOME", str(tmp_path))
        with pytest.raises(BottleGone), backend.attach(kept.slug):
            pytest.fail("it was attached")


def test_the_state_of_a_bottle_on_another_engine_is_kept(kept: ContainerBottlePlan, backend: DockerBackend) -> None:
    state.add_details(kept.slug, engine="unix:///elsewhere.sock")
    backend.stop(kept.slug)
    assert not backend.prepare_cleanup()


def test_what_a_dead_process_left_is_found_and_removed(
    nothing_left: None, backend: DockerBackend, prepare: Plan, api: docker.APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = prepare()
    claim(plan, dead_owner())
    with contextlib.ExitStack() as stack:
        with monkeypatch.context() as patch:
            dead = dead_owner()
            patch.setattr(ProcessIdentity, "current", lambda: dead)
            stack.enter_context(backend.launch(plan))
        orphans = backend.prepare_cleanup()
        assert [(orphan.slug, orphan.kind) for orphan in orphans.orphans] == [
            (plan.slug, "container"),
            (plan.slug, "state"),
        ]
        assert api.inspect_container(plan.container)["State"]["Running"]
        backend.cleanup(orphans)
        backend.cleanup(orphans)
    assert not backend.prepare_cleanup()
