"""Bottles of the local target, on the played engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from tests.smolmachines import native
from tests.smolmachines.native import Machine


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What stands for an unpacked root file system."""
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def session(root: Path, nothing_left: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.setattr("smol.transport._load_native", lambda: native)
    monkeypatch.delenv("SMOL_CLOUD_TOKEN", raising=False)
    session = Session()
    yield session
    session.stop_all()
    assert not Machine.machines


@pytest.fixture
def options(root: Path) -> dict[str, object]:
    return {"backend": "smolmachines", "image": str(root)}


@pytest.fixture
def bottle(session: Session, bottle_name: str, options: dict[str, object]) -> BottleHandle:
    return session.launch(bottle_name, LaunchOptions(**options))  # type: ignore[arg-type]
