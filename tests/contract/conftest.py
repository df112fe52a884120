"""One suite for every backend: `launch` gives running bottles of the backend that the test is run for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bb_jupyter.backend.execution import Completed
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from tests.smolmachines.fixtures import cloud

__all__ = ["cloud"]

Launch = Callable[..., BottleHandle]


@pytest.fixture(
    params=[
        pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("podman", marks=pytest.mark.podman),
        # The whole SDK against a cloud on loopback whose machines are sandboxes of bubblewrap.
        pytest.param("smolmachines-cloud", marks=pytest.mark.smolmachines),
        pytest.param("smolmachines-local", marks=[pytest.mark.smolmachines, pytest.mark.docker]),
    ]
)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name, _, target = str(request.param).partition("-")
    if target == "cloud":
        request.getfixturevalue("cloud")
    if target == "local":
        monkeypatch.setenv("BOT_BOTTLE_SMOL_TARGET", "local")
    if name == "podman":
        podman = request.getfixturevalue("podman")
        monkeypatch.setenv("CONTAINER_HOST", podman.address)
        monkeypatch.setenv("BOT_BOTTLE_BASE_IMAGE", podman.base_image)
    if name == "docker" or target == "local":
        engine = request.getfixturevalue("engine")
        monkeypatch.setenv("BOT_BOTTLE_BASE_IMAGE", engine.base_image)
    return name


@pytest.fixture
def session(backend: str, nothing_left: None) -> Iterator[Session]:
    session = Session()
    yield session
    session.stop_all()


@pytest.fixture
def launch(session: Session, backend: str, bottle_name: str) -> Launch:
    def start(name: str = bottle_name, **options: object) -> BottleHandle:
        return session.launch(name, LaunchOptions(**{"backend": backend, **options}))  # type: ignore[arg-type]

    return start


@pytest.fixture
def bottle(launch: Launch) -> BottleHandle:
    return launch()


def sh(bottle: BottleHandle, script: str, **options: object) -> Completed:
    """Run a script and wait for its end."""
    return bottle.exec(["sh", "-c", script], **options).wait()  # type: ignore[arg-type]


def out(bottle: BottleHandle, script: str, **options: object) -> str:
    """Run a script that must succeed and return what it printed."""
    done = sh(bottle, script, **options)
    assert done.returncode == 0, done
    return done.stdout.decode()
