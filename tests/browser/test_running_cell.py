"""A cell that runs can be answered: by its own buttons, and by the panel."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser import asking
from tests.browser.conftest import Picture
from tests.browser.lab import Lab


def test_a_question_is_answered_in_the_cell_that_asks(lab: Lab, bottle_name: str, picture: Picture) -> None:
    question = '{"question": "Which colour?", "choices": ["red", "blue"]}'
    notebook = lab.open(
        lab.server.add("%load_ext bb_jupyter", asking.MANIFEST, asking.cell(bottle_name, "ask", question))
    )
    notebook.run(0)
    notebook.run(1)
    notebook.start(2)
    outputs = notebook.outputs(2)
    card = outputs.locator(".bb-card")
    expect(card).to_contain_text("Which colour?")
    picture(lab.page)
    assert notebook.running(2)
    card.get_by_role("button", name="blue").click()
    notebook.done(2)
    picture(lab.page)
    expect(outputs).to_contain_text("HEARD")
    text = outputs.inner_text()
    assert "blue" in text and "AFTER" in text
    ticks = [int(line.split()[1]) for line in text.splitlines() if line.strip().startswith("TICK")]
    assert ticks == list(range(1, len(ticks) + 1))
    expect(card).to_have_count(0)
    expect(outputs).to_contain_text("approved")
