"""The image that holds a bottle's files goes with the last bottle that runs it, however they end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.errors import APIError

from bb_jupyter.backend import registry
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from tests.contract.conftest import out
from tests.leftovers import SLUG_LABEL, Engine

pytestmark = pytest.mark.docker


def images(engine: Engine, *handle: BottleHandle) -> list[str]:
    """Return the images that hold the files of these bottles."""
    with engine.client() as client:
        found = [client.api.images(filters={"label": f"{SLUG_LABEL}={each.plan.slug}"}) for each in handle]
        return [image["Id"] for some in found for image in some]


@pytest.fixture
def bottle(engine: Engine, session: Session, bottle_name: str, monkeypatch: pytest.MonkeyPatch) -> BottleHandle:
    monkeypatch.setenv("BOT_BOTTLE_BASE_IMAGE", engine.busybox_image)
    return session.launch(bottle_name, LaunchOptions(backend="docker"))


@pytest.fixture
def session(nothing_left: None) -> Iterator[Session]:
    session = Session()
    yield session
    session.stop_all()


def test_it_goes_with_the_last_branch(engine: Engine, bottle: BottleHandle) -> None:
    one, two = bottle.branch(2)
    assert len(images(engine, bottle)) == 1
    bottle.stop()
    one.stop()
    assert len(images(engine, bottle)) == 1
    assert out(two, "echo lives") == "lives\n"
    two.stop()
    assert not images(engine, bottle)


def test_branches_of_branches_leave_none(engine: Engine, bottle: BottleHandle) -> None:
    (child,) = bottle.branch()
    (grandchild,) = child.branch()
    child.stop()
    bottle.stop()
    assert out(grandchild, "echo lives") == "lives\n"
    grandchild.stop()
    assert not images(engine, bottle, child)


def test_a_command_waits_while_an_image_is_made(
    engine: Engine, bottle: BottleHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = docker.APIClient.exec_create

    def refused_once(client: docker.APIClient, container: str, *arguments: Any, **options: Any) -> Any:
        try:
            return create(client, container, *arguments, **options)
        except APIError:
            client.unpause(container)
            raise

    monkeypatch.setattr(docker.APIClient, "exec_create", refused_once)
    with engine.client() as client:
        client.api.pause(f"bb-{bottle.plan.slug}")  # as a commit does, also when who waits for it is interrupted
    assert out(bottle, "echo lives") == "lives\n"


def test_a_branch_that_does_not_start_leaves_none(engine: Engine, bottle: BottleHandle) -> None:
    with pytest.raises(KeyboardInterrupt), bottle.bottle.snapshot():
        raise KeyboardInterrupt
    assert not images(engine, bottle)


def test_cleanup_finds_it_when_its_kernel_died(
    engine: Engine, session: Session, bottle: BottleHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bb_jupyter.backend.docker.engine import DockerEngine

    with monkeypatch.context() as killed:
        killed.setattr(DockerEngine, "remove_image", lambda *_: None)
        bottle.branch()
        session.stop_all()
    assert len(images(engine, bottle)) == 1
    assert not registry.get("docker").prepare_cleanup()  # its owner lives
    monkeypatch.setattr("bb_jupyter.process.identity.ProcessIdentity.alive", property(lambda owner: False))
    plan = registry.get("docker").prepare_cleanup()
    assert [orphan.kind for orphan in plan.orphans if orphan.slug == bottle.plan.slug] == ["image"]
    registry.get("docker").cleanup(plan)
    assert not images(engine, bottle)
