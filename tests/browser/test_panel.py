"""The sidebar: bottles of every kernel, also while kernels are busy."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import Picture
from tests.browser.lab import Lab


def test_panel_shows_a_bottle_while_its_kernel_is_busy(lab: Lab, bottle_name: str, picture: Picture) -> None:
    name = lab.server.add(
        "%load_ext bb_jupyter",
        f"%%bottle {bottle_name}\necho ready; for i in $(seq 600); do echo tick $i; sleep 0.2; done",
    )
    notebook = lab.open(name)
    panel = lab.show_panel()
    notebook.run(0)
    notebook.start(1)
    row = panel.locator(".bb-row", has_text=bottle_name)
    expect(row).to_be_visible()
    row.locator(".bb-head").click()
    expect(row.locator(".bb-log")).to_contain_text("tick 3")
    picture(lab.page)
    assert notebook.running(1)
    row.get_by_role("button", name="Stop").click()
    row.get_by_role("button", name="Really stop?").click()
    expect(row).to_have_count(0)
    notebook.done(1)
    picture(lab.page)
