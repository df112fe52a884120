"""What only Docker has: its backend called directly, and the engine's own view of what it made."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from bb_jupyter.backend import state
from bb_jupyter.backend.bottle import Bottle
from bb_jupyter.backend.docker.backend import DockerBackend
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.spec import BottleSpec
from bb_jupyter.process.identity import ProcessIdentity
from tests.leftovers import Engine

Plan = Callable[..., ContainerBottlePlan]
Launch = Callable[..., Bottle]


@pytest.fixture(autouse=True)
def _base_image(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_BOTTLE_BASE_IMAGE", engine.base_image)


@pytest.fixture
def backend() -> DockerBackend:
    return DockerBackend()


@pytest.fixture
def api(engine: Engine) -> Iterator[docker.APIClient]:
    with contextlib.closing(docker.APIClient(engine.address, version="auto")) as client:
        yield client


@pytest.fixture
def prepare(backend: DockerBackend, bottle_name: str, tmp_path: Path) -> Plan:
    def make(name: str = bottle_name, **spec: Any) -> ContainerBottlePlan:
        wanted = BottleSpec(name=name, backend="docker", project=tmp_path, **spec)
        return backend.prepare(wanted, slug=state.new_slug(name), stage_dir=tmp_path / "stage")

    return make


@pytest.fixture
def launch(backend: DockerBackend, prepare: Plan, nothing_left: None) -> Iterator[Launch]:
    """Launch as a session does, and remove at the end."""
    with contextlib.ExitStack() as stack:

        def start(**spec: Any) -> Bottle:
            plan = prepare(**spec)
            stack.callback(claim(plan).remove)
            stack.callback(backend.stop, plan.slug)
            return stack.enter_context(backend.launch(plan))

        yield start


def claim(plan: ContainerBottlePlan, owner: ProcessIdentity | None = None) -> state.BottleRecord:
    """Write the record of a bottle."""
    record = state.BottleRecord(
        plan.slug, plan.spec.name, "docker", owner or ProcessIdentity.current(), created=1.0, keep=plan.spec.keep
    )
    state.claim(record)
    return record


def dead_owner() -> ProcessIdentity:
    """Return a process that certainly does not live."""
    return ProcessIdentity.from_dict({**ProcessIdentity.current().to_dict(), "pid": os.getpid(), "start_time": 1})


def out(bottle: Bottle, script: str, **options: Any) -> str:
    """Run a script that must succeed and return what it printed."""
    done = bottle.exec(["sh", "-c", script], **options).wait()
    assert done.returncode == 0, done
    return done.stdout.decode()


def until(condition: Callable[[], object], within: float = 60) -> None:
    """Wait for what the engine does by itself."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
