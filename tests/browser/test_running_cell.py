"""A cell that runs can be answered: by its own buttons, and by the panel."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser import asking
from tests.browser.conftest import Picture
from tests.browser.lab import Lab, Notebook

_VERSION = "import ipykernel; print('ipykernel', ipykernel.__version__)"


def _notebook(lab: Lab, kernel: str, name: str, tool: str, arguments: str) -> Notebook:
    """Open a notebook whose third cell asks, and run the cells before it."""
    cells = (f"%load_ext bb_jupyter\n{_VERSION}", asking.MANIFEST, asking.cell(name, tool, arguments))
    notebook = lab.open(lab.server.add(*cells, kernel=kernel))
    expect(notebook.run(0)).to_contain_text(kernel.removeprefix("ipykernel-") if "-" in kernel else "ipykernel")
    notebook.run(1)
    return notebook


def _check_nothing_is_lost(notebook: Notebook) -> None:
    text = notebook.outputs(2).inner_text()
    assert "BEFORE" in text and "AFTER" in text
    ticks = [int(line.split()[1]) for line in text.splitlines() if line.strip().startswith("TICK")]
    assert ticks == list(range(1, len(ticks) + 1))


def test_a_question_is_answered_in_the_cell_that_asks(
    lab: Lab, kernel: str, bottle_name: str, picture: Picture
) -> None:
    question = '{"question": "Which colour?", "choices": ["red", "blue"]}'
    notebook = _notebook(lab, kernel, bottle_name, "ask", question)
    notebook.start(2)
    outputs = notebook.outputs(2)
    card = outputs.locator(".bb-card")
    expect(card).to_contain_text("Which colour?")
    card.scroll_into_view_if_needed()
    picture(lab.page)
    assert notebook.running(2)
    card.get_by_role("button", name="blue").click()
    notebook.done(2)
    picture(lab.page)
    expect(outputs).to_contain_text("HEARD The human answered: blue")
    _check_nothing_is_lost(notebook)
    expect(card).to_have_count(0)
    expect(outputs).to_contain_text("approved")


def test_a_host_is_approved_in_the_panel_while_the_cell_runs(
    lab: Lab, kernel: str, bottle_name: str, picture: Picture
) -> None:
    wanted = '{"host": "docs.example.org", "reason": "<b>I</b> read"}'
    notebook = _notebook(lab, kernel, bottle_name, "request_host", wanted)
    panel = lab.show_panel()
    notebook.start(2)
    card = panel.locator(".bb-card")
    expect(card).to_contain_text("docs.example.org")
    expect(card).to_contain_text("<b>I</b> read")
    expect(lab.page.locator(".jp-Notification-Toast, .jp-toast-message").first).to_contain_text("docs.example.org")
    picture(lab.page)
    assert notebook.running(2)
    card.get_by_role("button", name="Approve").click()
    expect(card.get_by_role("status")).to_contain_text("approved")
    lab.look_away()
    notebook.done(2)
    expect(card).to_have_count(0)
    _check_nothing_is_lost(notebook)
    row = panel.locator(".bb-row", has_text=bottle_name)
    row.locator(".bb-head").click()
    expect(row.locator(".bb-egress")).to_contain_text("docs.example.org")


def test_a_denial_with_its_reason_reaches_the_agent(lab: Lab, kernel: str, bottle_name: str) -> None:
    notebook = _notebook(lab, kernel, bottle_name, "request_host", '{"host": "evil.example.org", "reason": "please"}')
    notebook.start(2)
    card = notebook.outputs(2).locator(".bb-card")
    card.get_by_label("Reason").fill("not this one")
    card.get_by_role("button", name="Deny").click()
    notebook.done(2)
    expect(notebook.outputs(2)).to_contain_text("not this one")
    expect(notebook.outputs(2)).to_contain_text("denied")
