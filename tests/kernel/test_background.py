"""`--bg`: output lands under the cell that started it, whichever cell runs."""

from __future__ import annotations

import pytest

from tests.kernel.notebook import Notebook

pytestmark = pytest.mark.bubblewrap


@pytest.fixture
def bottle(notebook: Notebook, bottle_name: str) -> str:
    """A running bottle with a gate that a script can wait at."""
    assert notebook.run(f"%%bottle {bottle_name}\nmkfifo gate").ok
    return bottle_name


def test_output_lands_under_its_own_cell_while_others_run(notebook: Notebook, bottle: str) -> None:
    first = notebook.start(f"%%bottle {bottle} --bg\necho begun; read line < gate; echo got $line; echo bad >&2")
    assert notebook.finish(first).ok
    other = notebook.run(f"print('other'); get_ipython().run_cell_magic('bottle', '{bottle}', 'echo hello > gate')")
    cell = notebook.until(first, lambda cell: "got" in cell.stdout and cell.stderr)
    assert cell.stdout == f"{bottle}: running in the background\nbegun\ngot hello\n"
    assert cell.stderr == "bad\n"
    assert other.stdout == "other\n"


def test_handle_waits_and_has_the_result(notebook: Notebook, bottle: str) -> None:
    notebook.run(f"%%bottle {bottle} --bg --out run\nread line < gate; echo got $line; exit 3")
    assert notebook.run("print(run.done, run)").stdout == f"False <background run in {bottle}: running>\n"
    notebook.run(f"%%bottle {bottle}\necho x > gate")
    cell = notebook.run("result = run.wait(60); print(result.returncode, result.stdout, run.done)")
    assert cell.stdout == "3 got x\n True\n"


def test_failure_is_told_under_its_own_cell(notebook: Notebook, bottle: str) -> None:
    first = notebook.start(f"%%bottle {bottle} --bg\nexit 7")
    assert notebook.finish(first).ok
    cell = notebook.until(first, lambda cell: bool(cell.stderr))
    assert "CommandFailed" in cell.stderr and "exit status 7" in cell.stderr and "Traceback" not in cell.stderr


def test_handle_kills_the_script_and_not_the_bottle(notebook: Notebook, bottle: str) -> None:
    notebook.run(f"%%bottle {bottle} --bg --out run\nsleep 1000")
    assert notebook.run("run.kill(); print(run.wait(60).interrupted)").stdout == "True\n"
    assert notebook.run(f"%%bottle {bottle}\necho alive").stdout == "alive\n"


def test_stopping_the_bottle_ends_the_script_tidily(notebook: Notebook, bottle: str) -> None:
    first = notebook.start(f"%%bottle {bottle} --bg --out run\nsleep 1000")
    notebook.finish(first)
    assert notebook.run(f"%bottle stop {bottle}").ok
    notebook.run("try: run.wait(60)\nexcept Exception: pass")
    cell = notebook.until(first, lambda cell: bool(cell.stderr))
    assert "BottleGone" in cell.stderr and "Traceback" not in cell.stderr


def test_rm_stops_the_bottle_when_the_script_has_ended(notebook: Notebook, bottle: str) -> None:
    notebook.run(f"%%bottle {bottle} --bg --rm --out run\ntrue")
    notebook.run("run.wait(60)")
    assert bottle not in notebook.run("%bottle ls").stdout


def test_interrupt_of_another_cell_leaves_it_alone(notebook: Notebook, bottle: str) -> None:
    notebook.run(f"%%bottle {bottle} --bg --out run\nread line < gate; echo survived")
    busy = notebook.start(f"%%bottle {bottle}\necho busy; sleep 1000")
    notebook.until(busy, lambda cell: "busy" in cell.stdout)
    notebook.interrupt()
    assert not notebook.finish(busy).ok
    notebook.run(f"%%bottle {bottle}\necho x > gate")
    assert notebook.run("print(run.wait(60).stdout)").stdout == "survived\n\n"
