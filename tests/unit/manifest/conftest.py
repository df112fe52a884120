"""A user's folder and a project of each test's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what other tests of this process defined in "their kernel"."""
    monkeypatch.setattr("bb_jupyter.manifest.bottle_loading._defined", {})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    monkeypatch.setenv("BOT_BOTTLE_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def _writer(folder: Path) -> Write:
    def write(path: str, text: str) -> Path:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture
def at_home(home: Path) -> Write:
    return _writer(home)


@pytest.fixture
def in_project(project: Path) -> Write:
    return _writer(project / ".bot-bottle")
