"""The same on a Docker engine."""

from __future__ import annotations

import pytest

from tests.integration.experiment.conftest import New
from tests.leftovers import Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]


def test_runs_in_containers(new: New, engine: Engine, tmp_path: object) -> None:
    done = new(
        agents="shell",
        backend="docker",
        image=engine.base_image,
        prompts={"good": "run cat common > answer.txt\ndone ok", "bad": "say nothing"},
        prepare="echo right > common",
        check="grep right answer.txt",
        repeats=2,
    ).run(workers=2)
    assert {run.prompt: run.state for run in done.runs()} == {"good": "passed", "bad": "failed"}
    good = done.runs()[0]
    assert good.outcome and good.outcome.facts["image"].startswith("sha256:")
    assert "+right" in good.diff and good.events
    assert engine.objects("demo") == []
