"""Runs in real bottles: what they start with, what decides about them, what is recorded."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bb_jupyter.agent.events import Final, ToolResult
from bb_jupyter.errors import ManifestError, UsageError
from bb_jupyter.experiment import CheckResult, Experiment, Finished, Task, Variant, load
from bb_jupyter.manifest import define_bottle
from tests.integration.experiment.conftest import New

pytestmark = pytest.mark.bubblewrap
_AGENTS = {name: Variant(agent="shell", env={"SKILL": skill}) for name, skill in (("never", "0"), ("always", "1"))}


def test_agents_are_compared(new: New) -> None:
    done = new(
        agents=_AGENTS,
        prompts={"easy": "run python3 solver.py\ndone **solved**", "hard": "run python3 solver.py"},
        check="grep right answer.txt",
        repeats=2,
    ).run()
    assert {run.agent: run.state for run in done.runs()} == {"never": "failed", "always": "passed"}
    never, always = done.compare().groups
    assert (never.passed, always.passed, always.runs) == (0, 4, 4)
    assert done.compare().pairs[0].only_second == 4


def test_the_record_of_a_run(new: New, home: Path) -> None:
    done = new(agents={"always": _AGENTS["always"]}, prompts="run python3 solver.py\ndone **solved**").run()
    (run,) = done.runs()
    assert run.folder.is_relative_to(home) and run.passed and run.attempts == 1
    assert run.answer == "**solved**" and isinstance(run.events[-1], Final)
    assert any(isinstance(event, ToolResult) for event in run.events)
    assert "+++ b/answer.txt\n" in run.diff and "+right\n" in run.diff
    assert run.outcome is not None
    assert {"launch", "agent", "check", "record", "total"} <= run.outcome.seconds.keys()
    facts = run.outcome.facts
    assert facts["backend"] == "bubblewrap" and len(facts["manifest"]) == 64 and facts["versions"]["python"]
    assert run.started and run.finished and run.started <= run.finished
    assert (run.folder / "output.log").read_text().count("solver.py")
    assert not [*(home / "logs").iterdir()], "the logs moved into the record"


def test_every_run_is_a_fresh_bottle(new: New) -> None:
    done = new(prompts="test ! -e mark; touch mark; test ! -e ~/mark; touch ~/mark", repeats=4).run()
    assert {run.state for run in done.runs()} == {"passed"}
    bottles = {run.outcome.facts["bottle"] for run in done.runs() if run.outcome}
    assert len(bottles) == 4


def test_parameters_and_the_seed_reach_the_bottle(new: New) -> None:
    done = new(prompts='echo "$LEVEL {LEVEL} $BB_SEED"', parameters={"LEVEL": ["$(id)", "2"]}).run()
    said = {run.parameters["LEVEL"]: run.answer.split() for run in done.runs()}
    assert said["2"] == ["2", "2", str(done.runs()[1].seed)]
    # As a script, a prompt is the author's own; in a variable, nothing is evaluated.
    assert said["$(id)"][0] == "$(id)"


def test_a_check_in_python_sees_what_the_agent_left(new: New) -> None:
    def check(finished: Finished) -> CheckResult:
        text = finished.read("out.txt").decode()
        assert finished.sh("wc -l < out.txt").stdout.strip() == b"1"
        return CheckResult(text == "two\n", score=float(len(text)), detail=f"it says {text!r}")

    done = new(prompts={"one": "echo one > out.txt", "two": "echo two > out.txt"}, check=check).run()
    one, two = done.runs()
    assert (one.state, two.state) == ("failed", "passed")
    assert two.outcome and two.outcome.score == 4.0 and two.check_output == "it says 'two\\n'"
    assert done.to_dataframe().loc["0002", "score"] == 4.0


def test_a_check_that_fails_is_no_result(new: New) -> None:
    def check(finished: Finished) -> bool:
        raise LookupError("a bug of the author's")

    experiment = new(check=check)
    with pytest.raises(Exception, match="a bug of the author's"):
        experiment.run()
    assert [run.counted for run in experiment.runs()] == [False]
    mended = new(check=lambda finished: True)
    assert mended.run().runs()[0].passed, "an experiment without any result gives way"


def test_hidden_tests_are_never_seen_by_the_agent(new: New, tmp_path: Path) -> None:
    """The agent looks everywhere, in its files and through /proc; its work is then tested, in another bottle."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "test.sh").write_text('echo tested; test "$(cat "$WORK/answer")" = 42-hidden-canary\n')
    look = (
        "grep -rlsD skip hidden-canary ~ /tmp /etc /run; find ~ /tmp /run /var -name test.sh 2>&1; env; ls -la / /tmp ~"
    )
    done = new(
        prompts={
            "blind": f"set +e; ({look}) > found; echo 42 > answer; sleep 0.2",
            "knows": "echo 42-hidden-canary > answer",
        },
        check={"command": "sh test.sh", "hidden": str(hidden)},
        workspace=None,
    ).run()
    blind, knows = done.runs()
    assert (blind.state, knows.state) == ("failed", "passed")
    assert "hidden-canary" not in blind.diff and "test.sh" not in blind.diff and "HOME=" in blind.diff
    assert blind.check_output == "tested\n"


def test_what_the_agent_leaves_cannot_stand_in_for_the_tests(new: New, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "test.sh").write_text("exit 1\n")
    plant = "mkdir -p ~/tests tests; echo exit 0 > ~/tests/test.sh; cp ~/tests/test.sh tests; ln -sfn / link"
    done = new(prompts=plant, check={"command": "sh test.sh", "hidden": str(hidden)}).run()
    assert done.runs()[0].state == "failed"


def test_one_prompt_has_its_own_workspace_and_check(new: New, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "x").write_text("x")
    own = Task(prompt="ls", workspace=str(other), check="test -e x -a ! -e solver.py")
    done = new(prompts={"own": own, "usual": "ls"}, check="test -e solver.py").run()
    assert [run.answer.split() for run in done.runs()] == [["x"], ["solver.py"]]
    assert {run.state for run in done.runs()} == {"passed"}


def test_common_work_is_done_once(new: New, tmp_path: Path) -> None:
    done = new(
        prompts="cat common ~/token; echo mine >> common",
        prepare="head -c 8 /dev/urandom | od -An -tx1 > common; cp common ~/token",
        repeats=4,
        check="test $(wc -l < common) = 2",
    ).run()
    answers = {run.answer for run in done.runs()}
    assert {run.state for run in done.runs()} == {"passed"} and len(answers) == 1


def test_common_work_that_fails_is_told(new: New) -> None:
    with pytest.raises(Exception, match="prepare: no such luck"):
        new(prepare="echo no such luck >&2; exit 3", repeats=3).run()


def test_it_is_found_again_and_not_repeated(new: New) -> None:
    first = new(repeats=3).run()
    before = {run.id: run.finished for run in first.runs()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Experiment, "plans", None)  # where nothing is missing, this host need not be able to do it
        again = new(repeats=3).run()
    assert {run.id: run.finished for run in again.runs()} == before
    assert load("demo").definition == first.definition
    with pytest.raises(UsageError, match="was begun with another"):
        new(repeats=4).run()
    fresh = new(repeats=4).run(fresh=True)
    assert len(fresh.runs()) == 4
    assert len([*first.folder.parent.iterdir()]) == 2, "the earlier one is kept"


def test_another_workspace_is_another_experiment(new: New, project: Path) -> None:
    new().run()
    (project / "more").write_text("x")
    with pytest.raises(UsageError, match="was begun with another"):
        new().run()


def test_another_manifest_of_the_name_is_another_experiment(new: New, bottle_name: str) -> None:
    define_bottle(bottle_name, "env: {LEVEL: 1}")
    new(bottles=bottle_name).run()
    define_bottle(bottle_name, "env: {LEVEL: 1}", "<another cell>")
    new(bottles=bottle_name).run()
    define_bottle(bottle_name, "env: {LEVEL: 2}")
    with pytest.raises(UsageError, match="manifest"):
        new(bottles=bottle_name).run()


def test_a_run_is_repeated_beside_the_experiment(new: New) -> None:
    done = new(agents={"always": _AGENTS["always"]}, prompts="run python3 solver.py", repeats=2).run()
    first, second = done.rerun("0002"), done.rerun("0002")
    assert (first.id, second.id, first.rerun_of) == ("0002r1", "0002r2", "0002")
    assert first.seed == done["0002"].seed and first.diff == done["0002"].diff
    assert len(done.runs()) == 2 and done.compare().groups[0].runs == 2


def test_export_is_read_without_us(new: New, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>\x1b[2J"
    done = new(
        prompts={"=cmd()": f"printf '%s' '{hostile}'; echo '{hostile}' > out; echo '{hostile}'"}, check="cat out"
    ).run()
    page = done.export(tmp_path / "out")
    run = (page.parent / "runs" / "0001" / "index.html").read_text()
    for text in (page.read_text(), run):
        assert "default-src 'none'" in text and "<script" not in text and "\x1b" not in text
    assert "&lt;script&gt;" in run and "answer" in run.lower()
    rows = [*csv.DictReader((page.parent / "runs.csv").open())]
    assert rows[0]["state"] == "passed" and rows[0]["prompt"] == "'=cmd()"
    assert json.loads((page.parent / "runs.json").read_text())[0]["run"] == "0001"
    assert (page.parent / "figure.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match="exists already"):
        done.export(tmp_path / "out")


def test_output_that_is_no_text_or_without_end_is_kept_within_bounds(new: New) -> None:
    done = new(prompts="head -c 1000000 /dev/urandom; head -c 1000000 /dev/zero | tr '\\0' x").run()
    (run,) = done.runs()
    assert run.passed and len(run.answer) <= 4000 and run.events
    assert done.export(run.folder.parent.parent / "out").stat().st_size < 1_000_000


def test_a_wrong_name_is_told_before_anything_runs(new: New) -> None:
    experiment = new(agents="nobody")
    for act in (experiment.plans, experiment.run):
        with pytest.raises(ManifestError, match="no agent is named 'nobody'"):
            act()
    assert not experiment.folder.exists(), "the right name is no other experiment"


def test_what_was_not_begun_is_told(new: New, tmp_path: Path) -> None:
    experiment = new()
    for act in (
        experiment.runs, experiment.compare, experiment.to_dataframe, experiment.figure,
        lambda: experiment.export(tmp_path / "out"), lambda: experiment.rerun("0001"), lambda: experiment["0001"],
    ):  # fmt: skip
        with pytest.raises(UsageError, match="was not begun"):
            act()
    new().run()
    with pytest.raises(UsageError, match="Did you mean 'demo'"):
        load("dmo")
    with pytest.raises(UsageError, match="-1 runs at a time"):
        new().run(workers=-1)


def test_no_secret_is_kept(new: New, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A credential of the host's that a route names is nowhere in the record, nor in what is exported."""
    monkeypatch.setenv("MODEL_KEY", "sk-test-0123456789abcdef")
    (home / "bottles").mkdir()
    (home / "bottles" / "web.md").write_text(
        "---\negress:\n  routes:\n    - {host: api.example.org, auth: {scheme: bearer, token_ref: MODEL_KEY}}\n---\n"
    )
    done = new(bottles="web", prompts="env; cat /proc/*/environ | tr '\\0' '\\n'").run()
    done.export(home / "out")
    kept = [path for path in [*done.folder.rglob("*"), *(home / "out").rglob("*")] if path.is_file()]
    assert len(kept) > 5 and not [path for path in kept if b"sk-test-0123" in path.read_bytes()]


def test_without_optional_packages_it_is_said_which(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    done = new().run()
    for name, use in (("pandas", done.to_dataframe), ("matplotlib", done.figure), ("mlflow", done.log_to_mlflow)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UsageError, match=f"needs {name}(\n|.)*pip install {name}"):
            use()


class _Client:
    """Stands in for `mlflow.MlflowClient`: remembers what is logged."""

    runs: ClassVar[list[Any]] = []
    logged: ClassVar[list[tuple[Any, ...]]] = []

    def __init__(self, tracking_uri: str | None = None) -> None:
        pass

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str) -> str:
        return "1"

    def search_runs(self, where: list[str], max_results: int) -> list[Any]:
        return self.runs

    def create_run(self, where: str, run_name: str, tags: dict[str, str]) -> Any:
        data = type("Data", (), {"tags": dict(tags)})
        self.runs.append(type("Run", (), {"data": data, "info": type("Info", (), {"run_id": run_name})}))
        return self.runs[-1]

    def set_tag(self, made: str, key: str, value: str) -> None:
        next(run for run in self.runs if run.info.run_id == made).data.tags[key] = value

    def log_batch(self, made: str, metrics: list[tuple[Any, ...]], params: list[tuple[Any, ...]]) -> None:
        self.logged.append((made, {metric[0]: metric[1] for metric in metrics}, dict(params)))

    def __getattr__(self, name: str) -> Any:
        return lambda *given: None


def test_results_are_logged_to_mlflow_once(new: New, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against 3.17.2 itself it was tried by hand."""
    entities = type("entities", (), {name: lambda *given: given for name in ("Metric", "Param")})
    monkeypatch.setitem(sys.modules, "mlflow", type("mlflow", (), {"MlflowClient": _Client}))
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    done: Experiment = new(repeats=2, parameters={"LEVEL": 3}).run()
    assert (done.log_to_mlflow(), done.log_to_mlflow()) == (2, 0)
    name, metrics, params = _Client.logged[0]
    assert name == "0001" and metrics["passed"] == 1.0 and metrics["seconds"] > 0 and params["param_LEVEL"] == "3"
