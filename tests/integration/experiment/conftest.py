"""Experiments with real bottles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bb_jupyter.experiment import Experiment
from tests.leftovers import leftovers

#: A "solver" of a workspace: how good it is says `$SKILL`, how lucky `$BB_SEED`.
SOLVER = """\
import os, random, sys
luck = random.Random(int(os.environ["BB_SEED"])).random()
with open("answer.txt", "w") as file:
    file.write("right\\n" if luck < float(os.environ["SKILL"]) else "wrong\\n")
"""
New = Callable[..., Experiment]


def bottles_left(home: Path) -> list[str]:
    """Return what bottles left; Python's own helper of process pools lives as long as this process."""
    return [line for line in leftovers(home) if "resource_tracker" not in line]


@pytest.fixture
def nothing_stays(home: Path) -> Iterator[None]:
    """Fail the test when a bottle or a process of it stays."""
    yield
    assert bottles_left(home) == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "solver.py").write_text(SOLVER)
    return folder


@pytest.fixture
def new(project: Path, nothing_stays: None) -> New:
    """Make experiments of scripts in bubblewrap, unless something else is said."""

    def make(name: str = "demo", **given: Any) -> Experiment:
        usual = {"prompts": "true", "workspace": project, "backend": "bubblewrap"}
        return Experiment(name, **{**usual, **given})

    return make
