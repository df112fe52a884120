"""`%%bottle_experiment` in a real kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.experiment.conftest import SOLVER
from tests.kernel.notebook import PATIENCE, Notebook
from tests.leftovers import leftovers

pytestmark = [pytest.mark.bubblewrap, pytest.mark.timeout(600)]
_CELL = """%%bottle_experiment demo --out e {options}
agents:
  never: {{agent: shell, env: {{SKILL: 0}}}}
  always: {{agent: shell, env: {{SKILL: 1}}}}
prompts:
  first: run python3 solver.py
  second: |
    say <b>bold</b>
    run python3 solver.py{more}
workspace: project
check: grep right answer.txt
repeats: 2
"""


def environment(home: Path, *, plain: bool) -> dict[str, str]:
    return {
        "BOT_BOTTLE_HOME": str(home),
        "BOT_BOTTLE_BACKEND": "bubblewrap",
        "BB_JUPYTER_PLAIN": "1" if plain else "",
        "IPYTHONDIR": str(home / "ipython"),
    }


@pytest.fixture
def folder(home: Path) -> Path:
    project = home / "project"
    project.mkdir()
    (project / "solver.py").write_text(SOLVER)
    (project / ".env").write_text("TOKEN=x")
    return home


@pytest.fixture(params=["rich", "plain"])
def notebook(request: pytest.FixtureRequest, folder: Path) -> Iterator[Notebook]:
    started = Notebook(environment(folder, plain=request.param == "plain"), str(folder))
    yield started
    started.close()
    assert not [line for line in leftovers(folder) if line.startswith("state")]


def test_a_cell_runs_an_experiment(notebook: Notebook, request: pytest.FixtureRequest) -> None:
    cell = notebook.run(_CELL.format(options="", more=""))
    assert cell.ok, cell.error
    plain = "plain" in request.node.callspec.id
    shown = cell.stdout if plain else "\n".join(data["text/plain"] for data in cell.displays)
    assert "8 runs: 4 passed, 4 failed" in shown
    assert "never   ✗✗     ✗✗" in shown and "always  ✓✓     ✓✓" in shown
    assert "left out: .env" in cell.stdout
    assert "bubblewrap" in shown.split("\n")[1], "the isolation is the first line of the preflight"
    if plain:
        assert not cell.displays
    else:
        page = "".join(data.get("text/html", "") for data in cell.displays)
        assert "&lt;b&gt;bold&lt;/b&gt;" in page and "<b>bold</b>" not in page
        assert any("image/png" in data for data in cell.displays)
        assert not any("application/vnd.jupyter.widget-view+json" in data for data in cell.displays)
    again = notebook.run(_CELL.format(options="", more=""))
    assert again.ok and notebook.run("print(max(run.attempts for run in e.runs()))").stdout == "1\n"


def test_interrupt_and_the_same_cell_again(notebook: Notebook, folder: Path) -> None:
    slow = _CELL.format(options="--workers 2", more="; test -e go || sleep 300")
    key = notebook.start(slow)
    index = folder / "experiments" / "demo" / "runs"
    deadline = time.monotonic() + PATIENCE
    while len([*index.glob("*/events.jsonl")]) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    notebook.manager.interrupt_kernel()
    cell = notebook.finish(key)
    assert not cell.ok and "KeyboardInterrupt" in cell.error and "Traceback" not in cell.error
    counted = notebook.run("print(sum(run.counted for run in e.runs()), {run.state for run in e.runs()})").stdout
    assert "running" not in counted and int(counted.split()[0]) < 8


@pytest.mark.parametrize(
    ("line", "body", "told"),
    [
        ("demo", "prompts: x\nrepeats: many", "repeats: expected a whole number"),
        ("Demo!", "prompts: x", "cannot name an experiment"),
        ("demo --on nothing", "prompts: x", "there is no variable 'nothing'"),
        ("demo --check 3x", "prompts: x", "there is no variable '3x'"),
        ("demo --worker 3", "prompts: x", "Did you mean '--workers'?"),
        ("demo --workers many", "prompts: x", "not a whole number"),
        ("demo", "agents: [nobody]\nprompts: x", "no agent is named 'nobody'"),
        ("demo", "prompts: x\nworkspace: nowhere", "cannot copy"),
    ],
)
def test_a_mistake_is_one_or_two_lines(shared: Notebook, line: str, body: str, told: str) -> None:
    cell = shared.run(f"%%bottle_experiment {line}\n{body}\n")
    assert not cell.ok and told in cell.error and len(cell.error.splitlines()) <= 2


def test_it_documents_itself(shared: Notebook) -> None:
    assert "Run agents on tasks many times" in shared.inspect("%%bottle_experiment")
    assert "--fresh" in shared.run("%%bottle_experiment --help\nx").stdout


def test_an_executor_and_a_check_of_the_notebooks(shared: Notebook) -> None:
    shared.run("from concurrent.futures import ThreadPoolExecutor\npool = ThreadPoolExecutor(2)")
    shared.run("def check(finished): return finished.read('x') == b'1\\n'")
    line = "%%bottle_experiment own --on pool --check check --out own"
    cell = shared.run(f"{line}\nprompts: {{good: echo 1 > x, bad: echo 2 > x}}\n")
    assert cell.ok, cell.error
    assert shared.run("print([run.state for run in own.runs()])").stdout == "['passed', 'failed']\n"


def test_from_python_with_the_same_display(shared: Notebook) -> None:
    shared.run("import bb_jupyter\ne = bb_jupyter.Experiment('python', prompts='true', repeats=3)")
    cell = shared.run("x = bb_jupyter.run_experiment(e)")
    assert cell.ok and "3 runs: 3 passed" in cell.stdout
    assert shared.run("print(bb_jupyter.experiment.load('python'))").stdout == "<experiment python: 3 passed>\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    home = tmp_path_factory.mktemp("h")
    started = Notebook(environment(home, plain=True), str(home))
    yield started
    started.close()
