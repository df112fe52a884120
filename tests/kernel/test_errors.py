"""Bad input: one or two lines, no traceback, the cell has failed, and nothing is left running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.kernel.conftest import NewNotebook
from tests.kernel.notebook import Notebook
from tests.leftovers import leftovers

pytestmark = pytest.mark.bubblewrap

BAD_CELLS = {
    "bad bottle name": ("%%bottle Bad_Name\ntrue", "UsageError", "bad-name"),
    "name with a path in it": ("%%bottle ../x\ntrue", "UsageError", "../x"),
    "no name": ("%%bottle\ntrue", "UsageError", "NAME"),
    "two names": ("%%bottle a b\ntrue", "UsageError", "unexpected argument 'b'"),
    "unknown option": ("%%bottle demo --imag x\ntrue", "UsageError", "Did you mean '--image'?"),
    "abbreviated option": ("%%bottle demo --time 5\ntrue", "UsageError", "there is no option '--time'"),
    "option without its value": ("%%bottle demo --image\ntrue", "UsageError", "expected one argument"),
    "unknown backend": ("%%bottle demo --backend bubblewarp\ntrue", "UsageError", "Did you mean 'bubblewrap'?"),
    "unknown bottle": ("%%bottle demo --bottle nosuch\ntrue", "ManifestError", "nosuch"),
    "unknown agent": ("%%bottle demo --agent nosuch\ntrue", "ManifestError", "nosuch"),
    "unclosed quote": ("%%bottle demo --env 'A=b\ntrue", "UsageError", "a quote"),
    "unknown variable": ("%%bottle demo --env A={nosuch}\ntrue", "UsageError", "there is no variable 'nosuch'"),
    "variable of another type": ("%%bottle demo --env A={get_ipython}\ntrue", "UsageError", "not text"),
    "unset variable of the kernel": ("%%bottle demo --env BB_NO_SUCH\ntrue", "UsageError", "no environment variable"),
    "bad name of a variable": ("%%bottle demo --env 1A=b\ntrue", "UsageError", "1A"),
    "bad time": ("%%bottle demo --timeout abc\ntrue", "UsageError", "--timeout: not a duration: 'abc'"),
    "bad size": ("%%bottle demo --memory lots\ntrue", "UsageError", "memory: not a size"),
    "bad number": ("%%bottle demo --cpus many\ntrue", "UsageError", "cpus: not a number: 'many'"),
    "no process at all": ("%%bottle demo --pids 0\ntrue", "UsageError", "pids: must be greater than 0"),
    "bad host": ("%%bottle demo --allow 'a b'\ntrue", "UsageError", "cannot allow 'a b'"),
    "no time at all": ("%%bottle demo --timeout 0\ntrue", "UsageError", "must be more than 0"),
    "image on bubblewrap": ("%%bottle demo --image debian\ntrue", "UsageError", "--backend docker"),
    "keep on bubblewrap": ("%%bottle demo --keep\ntrue", "UsageError", "--backend docker with --keep"),
    "bad variable for the result": ("%%bottle demo --out a.b\ntrue", "UsageError", "--out"),
    "missing copy source": ("%%bottle demo --copy /no/such\ntrue", "UsageError", "/no/such"),
    "unknown user": ("%%bottle demo --user nosuch\ntrue", "UsageError", "nosuch"),
    "unknown sub-command": ("%bottle sotp demo", "UsageError", "Did you mean 'stop'?"),
    "unknown option of a sub-command": ("%bottle stop --al", "UsageError", "Did you mean '--all'?"),
    "stop of nothing": ("%bottle stop", "UsageError", "--all"),
    "stop of an unknown bottle": ("%bottle stop nosuch", "UsageError", "no bottle is called 'nosuch'"),
    "attach to an unknown bottle": ("%bottle attach nosuch", "UsageError", "no bottle is called 'nosuch'"),
    "logs of an unknown bottle": ("%bottle logs nosuch", "UsageError", "'nosuch' has no log"),
    "cp without a bottle": ("%bottle cp a b", "UsageError", "NAME:PATH"),
    "cp between bottles": ("%bottle cp a:x b:y", "UsageError", "NAME:PATH"),
    "cp from an unknown bottle": ("%bottle cp nosuch:x y", "UsageError", "nosuch"),
    "manifest with an unknown key": ("%%bottle_manifest web\nimag: x", "ManifestError", "Did you mean 'image'?"),
    "manifest with a wrong type": (
        "%%bottle_manifest web\nlimits: {pids: many}",
        "ManifestError",
        "<cell>:1: limits.pids",
    ),
    "manifest with a duplicate key": ("%%bottle_manifest web\nimage: x\nimage: y", "ManifestError", "image"),
    "manifest that extends itself": ("%%bottle_manifest web\nextends: web", "ManifestError", "web"),
    "manifest that is no YAML": ("%%bottle_manifest web\na: [", "ManifestError", "<cell>"),
    "manifest without a name": ("%%bottle_manifest\nimage: x", "UsageError", "NAME"),
}


@pytest.mark.parametrize("what", BAD_CELLS)
def test_bad_input_is_told_in_two_lines_and_leaves_nothing(notebook: Notebook, what: str) -> None:
    code, kind, part = BAD_CELLS[what]
    cell = notebook.run(code)
    assert cell.reply["status"] == "error"
    assert cell.reply["ename"] == kind
    assert cell.error.startswith(f"{kind}: ") and part in cell.error
    assert len(cell.error.splitlines()) <= 2 and "Traceback" not in cell.error
    assert notebook.run("import bb_jupyter; print(bb_jupyter.active())").stdout == "[]\n"


def test_a_name_from_the_user_cannot_write_to_the_screen(notebook: Notebook) -> None:
    cell = notebook.run("get_ipython().run_line_magic('bottle', 'stop \\x1b[2Jx\\u202e')")
    assert "\x1b[2J" not in cell.error and "\u202e" not in cell.error
    assert "\x1b[2J" not in cell.reply["evalue"] and "\u202e" not in cell.reply["evalue"]


def test_a_repository_that_ships_bottles_is_refused(new_notebook: NewNotebook, home: Path) -> None:
    notebook = new_notebook(plain=True)
    notebook.run("!mkdir -p repo/.bot-bottle/bottles repo/.bot-bottle/agents")
    notebook.run("!echo 'image: evil' > repo/.bot-bottle/bottles/web.md; echo hi > repo/.bot-bottle/agents/helper.md")
    notebook.run("%cd -q repo")
    cell = notebook.run("%%bottle demo --agent helper\ntrue")
    assert cell.error.startswith("ManifestError: ") and "bottles" in cell.error and len(cell.error.splitlines()) <= 2
    assert "bottles" in notebook.run("%bottle agents").stdout
    assert notebook.run("%%bottle demo --bottle web\ntrue").error.startswith("ManifestError: ")
    assert not [line for line in leftovers(home, "demo") if "ipykernel" not in line]


def test_a_full_disk_is_told(new_notebook: NewNotebook, home: Path) -> None:
    notebook = new_notebook(plain=True)
    notebook.run("%%bottle warm --rm\ntrue")
    notebook.run("def full(*args): raise OSError(28, 'No space left on device', '/home/x')")
    notebook.run("import bb_jupyter.backend.state as state; state.claim = full")
    cell = notebook.run("%%bottle demo\ntrue")
    assert cell.error == "BottleError: No space left on device: /home/x"


@pytest.fixture
def saved(home: Path) -> Iterator[NotebookClient]:
    """A notebook whose third cell fails, as nbclient runs it."""
    sources = ["%load_ext bb_jupyter", "%%bottle demo\necho ran", "%%bottle demo\nexit 3", "print('not reached')"]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    yield NotebookClient(nbformat.v4.new_notebook(cells=cells), timeout=120, kernel_name="python3")


def test_nbclient_stops_at_the_failing_cell(saved: NotebookClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_BOTTLE_BACKEND", "bubblewrap")
    with pytest.raises(CellExecutionError, match="exit status 3"):
        saved.execute()
    assert [output["text"] for output in saved.nb.cells[1].outputs if output["output_type"] == "stream"] == ["ran\n"]
    assert saved.nb.cells[3].outputs == []
