"""Jupyter Notebook 7: what is of JupyterLab's own there works as in JupyterLab."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser import asking
from tests.browser.conftest import Picture
from tests.browser.lab import Lab


def test_dashboard_and_cells(lab: Lab, bottle_name: str, picture: Picture) -> None:
    work = f"%%bottle {bottle_name}\nfor i in 1 2 3; do echo line $i; done"
    notebook = lab.open_in_notebook_7(lab.server.add("%load_ext bb_jupyter", "%bottle dashboard", work))
    notebook.run(0)
    board = notebook.run(1).locator(".bb-board")
    expect(board).to_contain_text("No bottle is running")
    expect(notebook.run(2)).to_contain_text("line 3")
    row = board.locator(".bb-row", has_text=bottle_name)
    expect(row).to_contain_text("line 3")
    row.locator(".bb-head").click()
    expect(lab.show_panel().locator(".bb-row", has_text=bottle_name)).to_be_visible()
    picture(lab.page)
    row.get_by_role("button", name="Stop").click()
    row.get_by_role("button", name="Really stop?").click()
    lab.look_away()
    expect(row).to_have_count(0)


def test_a_running_cell_is_answered(lab: Lab, bottle_name: str) -> None:
    question = '{"question": "Which colour?", "choices": ["red", "blue"]}'
    cells = ("%load_ext bb_jupyter", asking.MANIFEST, asking.cell(bottle_name, "ask", question))
    notebook = lab.open_in_notebook_7(lab.server.add(*cells))
    notebook.run(0)
    notebook.run(1)
    notebook.start(2)
    card = notebook.outputs(2).locator(".bb-card")
    expect(card).to_contain_text("Which colour?")
    assert notebook.running(2)
    card.get_by_role("button", name="blue").click()
    notebook.done(2)
    expect(notebook.outputs(2)).to_contain_text("HEARD The human answered: blue")
