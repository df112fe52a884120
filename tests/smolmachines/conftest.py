"""Bottles in the cloud on loopback."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from tests.smolmachines.fixtures import cloud
from tests.smolmachines.server import Cloud

__all__ = ["cloud"]

Launch = Callable[..., BottleHandle]


@pytest.fixture
def session(cloud: Cloud, nothing_left: None) -> Iterator[Session]:
    session = Session()
    yield session
    session.stop_all()


@pytest.fixture
def launch(session: Session, bottle_name: str) -> Launch:
    def start(name: str = bottle_name, **options: object) -> BottleHandle:
        return session.launch(name, LaunchOptions(**{"backend": "smolmachines", **options}))  # type: ignore[arg-type]

    return start


@pytest.fixture
def bottle(launch: Launch) -> BottleHandle:
    return launch()
