"""`%bottle dashboard` in a real kernel: what it publishes for whom."""

from __future__ import annotations

import json

from tests.kernel.conftest import NewNotebook
from tests.kernel.notebook import Cell, Notebook


def test_one_display_for_every_reader(notebook: Notebook, bottle_name: str) -> None:
    notebook.run(f"%%bottle {bottle_name}\nprintf '<b>\\033[1mlast\\033[0m\\n'")
    [data] = notebook.run("%bottle dashboard").displays
    assert "application/vnd.jupyter.widget-view+json" in data
    assert [*data["application/vnd.bb-jupyter.console+json"]] == ["place"]
    assert bottle_name in data["text/plain"] and bottle_name in data["text/html"]
    assert "<b>" not in data["text/html"] and "&lt;b&gt;" in data["text/html"]
    assert "\x1b" not in json.dumps(data["text/plain"])
    notebook.run(f"%bottle stop {bottle_name}")


def test_no_widget_where_nobody_is_at_a_page(notebook: Notebook) -> None:
    """So nbclient runs cells; it would keep a widget's state, and an exported page would show a dead widget."""
    key = notebook.client.execute("import bb_jupyter; bb_jupyter.Dashboard()", allow_stdin=False)
    cell = notebook.cells[key] = Cell()
    notebook.finish(key)
    [result] = cell.of("execute_result")
    assert sorted(result["content"]["data"]) == ["application/vnd.bb-jupyter.console+json", "text/html", "text/plain"]
    assert not cell.of("comm_open")


def test_its_repr_is_the_same_in_every_kernel(notebook: Notebook) -> None:
    assert notebook.run("import bb_jupyter; print(repr(bb_jupyter.Dashboard()))").stdout == "Dashboard()\n"


def test_plain_output_is_the_moment(new_notebook: NewNotebook, bottle_name: str) -> None:
    plain = new_notebook(plain=True)
    assert plain.run("%bottle dashboard").stdout == "no bottle is running\n"
    plain.run(f"%%bottle {bottle_name}\necho word")
    cell = plain.run("%bottle dashboard")
    assert bottle_name in cell.stdout and "word" in cell.stdout and not cell.displays
    plain.run(f"%%bottle {bottle_name}-agent --agent shell\ndone All is well.")
    told = plain.run("%bottle dashboard").stdout
    assert "All is well." in told and '{"type"' not in told
