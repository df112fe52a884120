"""Cells as a person sees them: output while it is made, stop, hostile output, reload, two tabs, restart."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewLab, Picture
from tests.browser.lab import Lab
from tests.leftovers import Engine

_QUICKSTART = Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"


def test_quickstart_runs_from_top_to_bottom(lab: Lab, picture: Picture) -> None:
    shutil.copy(_QUICKSTART, lab.server.notebooks / "quickstart.ipynb")
    notebook = lab.open("quickstart.ipynb")
    lab.run("notebook:run-all-cells")
    notebook.idle()
    assert lab.page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']").count() == 0
    picture(lab.page)


def test_output_arrives_while_the_cell_runs_and_stop_keeps_it(lab: Lab, bottle_name: str, picture: Picture) -> None:
    work = f"%%bottle {bottle_name}\nfor i in $(seq 600); do echo tick $i; sleep 0.2; done"
    notebook = lab.open(lab.server.add("%load_ext bb_jupyter", work, f"%%bottle {bottle_name}\necho still here"))
    notebook.run(0)
    notebook.start(1)
    expect(notebook.outputs(1)).to_contain_text("tick 3")
    assert notebook.running(1)
    lab.page.get_by_role("button", name="Interrupt the kernel").first.click()
    notebook.done(1)
    expect(notebook.outputs(1)).to_contain_text("KeyboardInterrupt")
    expect(notebook.outputs(1)).to_contain_text("tick 3")
    expect(notebook.run(2)).to_contain_text("still here")
    picture(lab.page)


_HOSTILE = r"""
printf '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\n'
printf '\033]0;title\007\033[2Jclear\033[8mhidden\033[0m\033]8;;http://evil.example\007link\033]8;;\007\n'
printf 'bidi \xe2\x80\xaeevil\xe2\x80\xac zero\xe2\x80\x8bwidth\n'
printf '\033[31mred\033[0m <b>bold</b>\n'
"""


def test_hostile_output_is_text_everywhere(lab: Lab, bottle_name: str, picture: Picture) -> None:
    notebook = lab.open(
        lab.server.add("%load_ext bb_jupyter", f"%%bottle {bottle_name}{_HOSTILE}", "%bottle dashboard")
    )
    panel = lab.show_panel()
    notebook.run(0)
    output = notebook.run(1)
    board = notebook.run(2).locator(".bb-board")
    shown = [output]
    for place in (panel, board):
        row = place.locator(".bb-row", has_text=bottle_name)
        row.locator(".bb-head").click()
        log = row.locator(".bb-log")
        expect(log).to_contain_text("<b>bold</b>")
        shown.append(log)
    for place in shown[1:]:
        assert place.locator("img, script, b, a").count() == 0
    for place in shown:
        expect(place).to_contain_text('<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>')
        expect(place).to_contain_text("bidi <U+202E>evil<U+202C> zero<U+200B>width")
        expect(place).to_contain_text("␛]0;title␇")
        assert place.locator("img, script").count() == 0
    assert lab.page.evaluate("window.pwned") is None
    picture(lab.page)


def test_a_reload_while_a_cell_runs_loses_nothing_of_the_bottle(lab: Lab, bottle_name: str, picture: Picture) -> None:
    work = f"%%bottle {bottle_name}\nfor i in $(seq 30); do echo tick $i; sleep 0.2; done; echo END"
    notebook = lab.open(lab.server.add("%load_ext bb_jupyter", work))
    notebook.run(0)
    notebook.start(1)
    expect(notebook.outputs(1)).to_contain_text("tick 2")
    lab.run("docmanager:save")
    lab.page.reload()
    notebook.page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.context?.isReady")
    row = lab.show_panel().locator(".bb-row", has_text=bottle_name)
    row.locator(".bb-head").click()
    expect(row.locator(".bb-log")).to_contain_text("END")
    expect(row.locator(".bb-log")).to_contain_text("tick 1")
    notebook.ready()
    picture(lab.page)


def test_two_tabs_show_the_same_bottles(new_lab: NewLab, bottle_name: str) -> None:
    first, second = new_lab(), new_lab()
    notebook = first.open(first.server.add("%load_ext bb_jupyter", f"%%bottle {bottle_name}\necho one word"))
    other = second.open(second.server.add("1"))
    notebook.run(0)
    notebook.run(1)
    rows = [lab.show_panel().locator(".bb-row", has_text=bottle_name) for lab in (first, second)]
    for row in rows:
        expect(row).to_contain_text("one word")
        row.locator(".bb-head").click()
    assert second.page.locator(".jp-NotebookPanel").count() == 1
    rows[1].get_by_role("button", name="Open notebook").click()
    expect(second.page.locator(f".lm-TabBar-tab.lm-mod-current >> text={notebook.name}")).to_be_visible()
    assert other.name != notebook.name
    rows[1].get_by_role("button", name="Stop").click()
    rows[1].get_by_role("button", name="Really stop?").click()
    for lab, row in zip((first, second), rows, strict=True):
        lab.look_away()
        expect(row).to_have_count(0)


@pytest.mark.docker
def test_a_kept_docker_bottle_survives_a_restart_of_its_kernel(
    lab: Lab, bottle_name: str, engine: Engine, picture: Picture
) -> None:
    launch = (
        f"%%bottle {bottle_name} --backend docker --image {engine.base_image} --keep\necho kept > note; echo in docker"
    )
    notebook = lab.open(
        lab.server.add(
            "%load_ext bb_jupyter",
            launch,
            f"%bottle attach {bottle_name}",
            f"%%bottle {bottle_name}\ncat note",
            f"%bottle stop {bottle_name}",
        )
    )
    row = lab.show_panel().locator(".bb-row", has_text=bottle_name)
    notebook.run(0)
    expect(notebook.run(1)).to_contain_text("in docker")
    expect(row).to_contain_text("docker")
    expect(row).to_contain_text(re.compile(r"\d % CPU · [\d.]+ [kM]B"))
    lab.page.evaluate("window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.restart()")
    notebook.ready()
    expect(row).to_contain_text("no kernel is attached")
    picture(lab.page)
    notebook.run(0)
    expect(notebook.run(2)).to_contain_text(f"attached {bottle_name}")
    expect(notebook.run(3)).to_contain_text("kept")
    expect(row).not_to_contain_text("no kernel is attached")
    notebook.run(4)
    expect(row).to_have_count(0)
