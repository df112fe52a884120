"""The grid as text and HTML: all that came from bottles is data, and a saved notebook stays small."""

from __future__ import annotations

import json
from pathlib import Path

from bb_jupyter.experiment.schedule import ExperimentProgress
from bb_jupyter.notebook.views.experiment_grid import MOST, Layout, counts, note, transcripts
from tests.unit.experiment.test_compare import record

_HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e"


def test_a_mark_for_each_run() -> None:
    runs = [record(agent, prompt, 1, passed=agent == "a") for agent in "ab" for prompt in ("x", "y")]
    states = {run.id: run.state for run in runs} | {"b-y-1": "running"}
    assert Layout.of(runs).text(states) == "   x  y\na  ✓  ✓\nb  ✗  ▸"
    assert counts(states) == "4 runs: 1 running, 2 passed, 1 failed"


def test_parameters_make_lines() -> None:
    runs = [record("a", "x", 1, passed=True, id=level, parameters={"LEVEL": level}) for level in "12"]
    assert [*Layout.of(runs).lines] == ["a LEVEL=1", "a LEVEL=2"]


def test_hostile_text_is_shown_as_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(json.dumps({"type": "text", "text": _HOSTILE}) + "\n")
    (tmp_path / "check.txt").write_text(_HOSTILE)
    run = record(_HOSTILE, _HOSTILE, 1, passed=False, id="0001", folder=tmp_path)
    layout, states = Layout.of([run]), {"0001": "failed"}
    shown = layout.html(states, transcripts([run]))
    for text in (shown, layout.text(states), *transcripts([run]).values()):
        assert "\x1b" not in text and "\u202e" not in text
    assert "<script" not in shown and shown.count("&lt;script&gt;") == 4


def test_a_saved_notebook_stays_small(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text((json.dumps({"type": "text", "text": "x" * 1000}) + "\n") * 500)
    runs = [record("a", "x", n, passed=True, id=f"{n:04d}", folder=tmp_path) for n in range(300)]
    assert len(Layout.of(runs).html({run.id: "passed" for run in runs}, transcripts(runs))) < 1_000_000


def test_very_many_runs_are_counted() -> None:
    runs = [record("a", "x", n, passed=True, id=str(n)) for n in range(MOST + 1)]
    states = {run.id: "passed" for run in runs} | {"0": "failed"}
    assert Layout.of(runs).text(states) == f"   x\na  {MOST}✓ 1✗"
    assert len(Layout.of(runs).html(states)) < 1000


def test_how_far_it_is() -> None:
    states = {"1": "passed", "2": "running", "3": "waiting"}
    assert note(ExperimentProgress(states, 10.0, 65.2)) == "1 of 3 runs done, 1 running, about 1m5s left"
    stopping = ExperimentProgress(states, 10.0, 9.0, "interrupted")
    assert note(stopping) == "1 of 3 runs done, 1 running, ending: interrupted"
