"""The live grid of an experiment: marks change while its cell runs, and a click shows what a run does."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Picture
from tests.browser.lab import Lab

_CELL = """%%bottle_experiment grid --workers 3 --fresh
agents: [shell]
prompts:
  quick: |
    say <img src=x onerror=alert(1)> was here
    done
  slow: |
    say waiting for you
    run for i in $(seq 600); do sleep 0.1; test -e ~/go && exit; done
repeats: 2
order: given
backend: bubblewrap
limits: {time: 25s}
"""


def test_a_click_shows_what_a_run_does_while_it_runs(lab: Lab, picture: Picture) -> None:
    notebook = lab.open(lab.server.add("%load_ext bb_jupyter", _CELL))
    notebook.run(0)
    notebook.start(1)
    outputs = notebook.outputs(1)
    grid = outputs.locator(".bb-grid")
    expect(grid.locator("button[data-state='p']")).to_have_count(2)
    running = grid.locator("button[data-state='r']")
    expect(running).to_have_count(2)
    expect(grid).to_contain_text("2 of 4 runs done, 2 running")
    running.first.click()
    expect(grid.locator(".bb-grid-text")).to_contain_text("waiting for you")
    grid.locator("button[data-state='p']").first.click()
    expect(grid.locator(".bb-grid-text")).to_contain_text("<img src=x onerror=alert(1)> was here")
    picture(lab.page)
    assert notebook.running(1)
    notebook.done(1)
    expect(grid).to_have_count(0)
    expect(outputs).to_contain_text("4 runs: 2 passed, 2 stopped")
    expect(outputs.locator("img[alt]").or_(outputs.locator("img")).last).to_be_visible()
    outputs.locator("summary", has_text="■").first.click()
    expect(outputs).to_contain_text("over its time of 25s")
    picture(lab.page)
