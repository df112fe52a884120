"""The dashboard in a cell: drawn by JupyterLab; where our extension is not, a widget that asks its server or kernel."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import NewLab, Picture
from tests.browser.lab import Lab, Server

_SHOW = "%bottle dashboard"
_BUSY = "print('at work'); import time; time.sleep(600)"
_OWN_HOME = "import os, tempfile; os.environ['BOT_BOTTLE_HOME'] = tempfile.mkdtemp(prefix='bb-', dir='/tmp')"


def test_dashboard_is_drawn_live_and_outlives_its_kernel(lab: Lab, bottle_name: str, picture: Picture) -> None:
    work = f"%%bottle {bottle_name}\nfor i in $(seq 500); do echo line $i; done; printf '\\033[1mlast\\033[0m word\\n'"
    notebook = lab.open(lab.server.add("%load_ext bb_jupyter", _SHOW, work))
    notebook.run(0)
    board = notebook.run(1).locator(".bb-board")
    expect(board).to_be_visible()
    notebook.run(2)
    row = board.locator(".bb-row", has_text=bottle_name)
    expect(row).to_contain_text("last word")
    row.locator(".bb-head").click()
    log = row.locator(".bb-log")
    expect(log).to_contain_text("line 500")
    assert log.locator(".bb-log-window > div").count() < 60
    row.get_by_placeholder("Search the log").fill("line 17")
    expect(row.get_by_text("1 of 11")).to_be_visible()
    expect(log.locator(".bb-found")).to_have_text("line 17")
    picture(lab.page)
    lab.run("docmanager:save")
    lab.page.evaluate("window.jupyterapp.shell.currentWidget.context.sessionContext.shutdown()")
    expect(row).to_contain_text("ended")
    expect(log).to_contain_text("line 17")
    lab.look_away()
    expect(row).to_have_count(0)
    lab.page.reload()
    again = lab.page.locator(".jp-NotebookPanel .bb-board")
    expect(again).to_contain_text("Bottles")
    expect(lab.page.get_by_text("Error displaying widget")).to_have_count(0)
    expect(lab.page.get_by_text("Loading widget")).to_have_count(0)


def test_widget_asks_the_server_while_its_kernel_is_busy(
    new_lab: NewLab, server_without_panel: Server, bottle_name: str, picture: Picture
) -> None:
    lab = new_lab(server_without_panel)
    work = f"%%bottle {bottle_name}\nfor i in $(seq 600); do echo tick $i; sleep 0.2; done"
    notebook = lab.open(lab.server.add("%load_ext bb_jupyter", _SHOW, work))
    notebook.run(0)
    board = notebook.run(1).locator(".bb-board")
    expect(board).to_contain_text("No bottle is running")
    notebook.start(2)
    row = board.locator(".bb-row", has_text=bottle_name)
    row.locator(".bb-head").click()
    expect(row.locator(".bb-log")).to_contain_text("tick 5")
    assert notebook.running(2)
    picture(lab.page)
    row.get_by_role("button", name="Stop").click()
    row.get_by_role("button", name="Really stop?").click()
    notebook.done(2)
    lab.look_away()
    expect(row).to_have_count(0)


def test_widget_asks_its_kernel_where_the_server_sees_other_bottles(
    new_lab: NewLab, server_without_panel: Server, bottle_name: str, picture: Picture
) -> None:
    lab = new_lab(server_without_panel)
    notebook = lab.open(
        lab.server.add(_OWN_HOME, "%load_ext bb_jupyter", _SHOW, f"%%bottle {bottle_name}\necho from afar", _BUSY)
    )
    notebook.run(0)
    notebook.run(1)
    board = notebook.run(2).locator(".bb-board")
    notebook.run(3)
    row = board.locator(".bb-row", has_text=bottle_name)
    expect(row).to_contain_text("from afar")
    row.locator(".bb-head").click()
    expect(row.locator(".bb-log")).to_contain_text("from afar")
    row.get_by_placeholder("Host").fill("not a host")
    row.get_by_role("button", name="Allow host").click()
    expect(row.locator(".bb-status")).to_contain_text("not a host")
    notebook.start(4)
    expect(notebook.outputs(4)).to_contain_text("at work")
    row.get_by_role("button", name="Stop").click()
    row.get_by_role("button", name="Really stop?").click()
    expect(board).to_contain_text("The kernel is busy")
    expect(board).to_contain_text("use a terminal: bb-jupyter approvals")
    picture(lab.page)
    lab.page.get_by_role("button", name="Interrupt the kernel").first.click()
    expect(board).not_to_contain_text("The kernel is busy")
    expect(row).to_have_count(0)


def test_drawn_dashboard_does_not_show_other_bottles_than_the_kernels(lab: Lab) -> None:
    notebook = lab.open(lab.server.add(_OWN_HOME, "%load_ext bb_jupyter", _SHOW))
    notebook.run(0)
    notebook.run(1)
    expect(notebook.run(2)).to_contain_text("This Jupyter server does not see the bottles of this kernel")
