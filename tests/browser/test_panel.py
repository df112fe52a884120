"""The sidebar: bottles of every kernel also while kernels are busy, and what waits for the human."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from bb_jupyter.approvals import LivenessLock, Queue, status
from bb_jupyter.notebook.views import approval_cards
from tests.browser.conftest import NewLab, Picture
from tests.browser.lab import Lab, Server

_SHA = "0123456789abcdef0123456789abcdef01234567"
_PUSH = {
    "alias": "widgets",
    "url": "ssh://git@example.org/team/widgets.git",
    "refs": [
        {"name": "refs/heads/main", "old": "f" * 40, "new": _SHA, "kind": "update"},
        {"name": "refs/heads/extra", "old": "0" * 40, "new": _SHA, "kind": "create"},
    ],
    "commits": [
        {"sha": _SHA, "author": "Agent <a@b.c>", "date": "2026-01-01", "subject": "Fix <b>it</b>", "body": "Because."}
    ],
    "files": [{"path": "src/\u202eevil.py", "status": "M", "added": 2, "deleted": 1, "binary": False}],
    "diff": "--- a/src/x.py\n+++ b/src/x.py\n@@ -1 +1,2 @@\n-old\n+<script>window.pwned=1</script>\n+new\n",
    "truncated": False,
    "findings": [{"rule": "a private key", "path": "key.pem", "line": 3, "where": "commit 0123"}],
    "totals": {"commits": 1, "files": 1},
}


@pytest.fixture
def queue(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """The queue of a bottle whose broker this test is, in the server's home."""
    monkeypatch.setenv("BOT_BOTTLE_HOME", str(server.home))
    slug = f"demo-{secrets.token_hex(4)}"
    presence, made = LivenessLock(slug), Queue(slug, "demo")
    yield made
    made.end()
    for handle in made.pending():
        made.withdraw(handle.id, "the test ended")
    presence.close()


def test_panel_shows_a_bottle_while_its_kernel_is_busy(lab: Lab, bottle_name: str, picture: Picture) -> None:
    work = f"%%bottle {bottle_name}\necho ready; for i in $(seq 600); do echo tick $i; sleep 0.2; done"
    notebook = lab.open(lab.server.add("%load_ext bb_jupyter", work))
    panel = lab.show_panel()
    notebook.run(0)
    notebook.start(1)
    row = panel.locator(".bb-row", has_text=bottle_name)
    expect(row).to_be_visible()
    row.locator(".bb-head").click()
    expect(row.locator(".bb-log")).to_contain_text("tick 3")
    assert notebook.running(1)
    row.get_by_placeholder("Host").fill("docs.example.org:8443")
    row.get_by_role("button", name="Allow host").click()
    expect(row.locator(".bb-egress")).to_contain_text("docs.example.org:8443")
    assert notebook.running(1)
    picture(lab.page)
    row.get_by_role("button", name="Stop").click()
    row.get_by_role("button", name="Really stop?").click()
    expect(row).to_contain_text("ended")
    lab.look_away()
    expect(row).to_have_count(0)
    notebook.done(1)


def test_a_held_push_is_shown_exactly_and_denied_without_any_kernel(lab: Lab, queue: Queue, picture: Picture) -> None:
    lab.start()
    panel = lab.show_panel()
    proposal = queue.propose("push", _PUSH)
    card = panel.locator(".bb-card", has_text="wants to push to widgets")
    expect(card).to_contain_text("refs/heads/main ffffffffff → 0123456789")
    expect(card).to_contain_text("Fix <b>it</b>")
    expect(card).to_contain_text("src/<U+202E>evil.py +2 −1")
    expect(card).to_contain_text("key.pem:3 in commit 0123: a private key")
    card.get_by_text("Diff").click()
    expect(card.locator(".bb-plus").nth(1)).to_have_text("+<script>window.pwned=1</script>")
    expect(lab.page.locator("li[data-id='bb-jupyter-panel']")).to_contain_text("1")
    picture(lab.page)
    card.get_by_label("Reason").fill("no keys, please")
    card.get_by_role("button", name="Deny").click()
    expect(card.get_by_role("status")).to_have_text("denied (no keys, please)")
    lab.look_away()
    expect(card).to_have_count(0)
    found = status(proposal.id)
    assert found.state == "denied" and found.decision and found.decision.why == "no keys, please"
    assert lab.page.evaluate("window.pwned") is None


def test_a_proposal_that_was_replaced_is_not_decided_by_the_old_card(lab: Lab, queue: Queue) -> None:
    """What is shown is what is decided: the page names the token of what it showed."""
    lab.start()
    panel = lab.show_panel()
    first = queue.propose("question", {"question": "Delete the copy?", "choices": ["yes"]}, fold_key="q")
    card = panel.locator(".bb-card", has_text="Delete the copy?")
    expect(card).to_be_visible()
    lab.page.route(re.compile(r"/bb-jupyter/approvals(\?|$)"), lambda route: route.abort())
    queue.withdraw(first.id, "changed")
    card.get_by_role("button", name="yes").click()
    expect(card.locator(".bb-status")).to_contain_text("withdrawn already")


def test_nothing_slides_under_the_pointer_in_the_panel(lab: Lab, queue: Queue) -> None:
    lab.start()
    panel = lab.show_panel()
    first, _ = (queue.propose("question", {"question": f"Go {way}?", "choices": ["yes"]}) for way in ("left", "right"))
    shown = panel.locator(".bb-card")
    expect(shown).to_have_count(2)
    shown.nth(1).get_by_role("button", name="yes").hover()
    before = shown.nth(1).bounding_box()
    queue.withdraw(first.id, "changed")
    expect(shown.nth(0).get_by_role("status")).to_contain_text("withdrawn")
    expect(shown.nth(0).get_by_role("button")).to_have_count(0)
    assert shown.nth(1).bounding_box() == before
    lab.look_away()
    expect(shown).to_have_count(1)
    expect(shown).to_contain_text("Go right?")


def test_a_click_that_was_meant_for_what_was_there_before_decides_nothing(lab: Lab, queue: Queue) -> None:
    """In a cell, one line replaces a card that was decided elsewhere, and the next card moves up."""
    ids = [queue.propose("question", {"question": f"Go {way}?", "choices": ["yes"]}).id for way in ("left", "right")]
    card = f"{{{approval_cards.MIME!r}: {{'id': %d}}, 'text/plain': 'asks'}}, raw=True"
    show = "\n".join(f"shown{n} = display({card % n}, display_id=True)" for n in ids)
    over, again = f"shown{ids[0]}.update({{'text/plain': 'gone'}}, raw=True)", f"shown{ids[0]}.update({card % ids[0]})"
    notebook = lab.open(lab.server.add(show, over, again))
    shown = notebook.run(0).locator(".bb-card")
    expect(shown).to_have_count(2)
    notebook.run(1)
    expect(shown).to_have_count(1)
    there = shown.get_by_role("button", name="yes").bounding_box()
    assert there
    notebook.run(2)
    expect(shown).to_have_count(2)
    at = [there["x"] + there["width"] / 2, there["y"] + there["height"] / 2]
    lab.page.mouse.move(*at)
    notebook.run(1)
    expect(shown).to_have_count(1)
    lab.page.wait_for_function("([x, y]) => document.elementFromPoint(x, y)?.tagName === 'BUTTON'", arg=at)
    _click_without_moving(lab)
    expect(shown.get_by_role("status")).to_contain_text("click again")
    assert status(ids[1]).state == "pending"
    _click_without_moving(lab)
    expect(shown.get_by_role("status")).to_contain_text("approved: yes")


def _click_without_moving(lab: Lab) -> None:
    lab.page.mouse.down()
    lab.page.mouse.up()


def test_the_keyboard_is_enough(lab: Lab, queue: Queue) -> None:
    lab.open(lab.server.add("1"))  # a launcher would take the focus whenever it has come up
    panel = lab.show_panel()
    proposal = queue.propose("question", {"question": "Go on?", "choices": []})
    expect(panel.locator(".bb-card")).to_be_visible()
    lab.run("bb-jupyter:show")
    expect(panel.locator(".bb-card")).to_be_focused()
    lab.page.keyboard.press("Tab")
    expect(panel.get_by_label("Answer", exact=True).first).to_be_focused()
    lab.page.keyboard.type("Yes, dd and x are no shortcuts here")
    lab.page.keyboard.press("Tab")
    expect(panel.get_by_role("button", name="Answer")).to_be_focused()
    lab.page.keyboard.press("Enter")
    expect(panel.locator(".bb-card")).to_contain_text("approved: Yes, dd and x")
    expect(panel.locator(".bb-card")).to_be_focused()
    lab.page.keyboard.press("Tab")
    expect(panel.locator(".bb-card")).to_have_count(0)
    decision = status(proposal.id).decision
    assert decision and decision.answer == {"text": "Yes, dd and x are no shortcuts here"}


def test_a_command_shows_the_panel(lab: Lab) -> None:
    lab.open(lab.server.add("1"))
    lab.run("apputils:activate-command-palette")
    expect(lab.page.locator(".lm-CommandPalette-input")).to_be_focused()
    lab.page.locator(".lm-CommandPalette-input").fill("bottles and approvals")
    expect(lab.page.locator(".lm-CommandPalette-item")).to_have_count(1)
    lab.page.keyboard.press("Enter")
    expect(lab.page.locator("#bb-jupyter-panel")).to_be_visible()


#: The least contrast of any text in sight, and that text (WCAG 2.2, 1.4.3 wants 4.5); a canvas mixes the colours.
_LEAST_CONTRAST = """panel => {
    const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    const light = colours => {
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(part => part / 255)
            .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
    };
    const behind = node => node ? [...behind(node.parentElement), getComputedStyle(node).backgroundColor] : ['white'];
    const texts = [...panel.querySelectorAll('*')].filter(node => node.checkVisibility()
        && [...node.childNodes].some(child => child.nodeType === Node.TEXT_NODE && child.data.trim()));
    return texts.map(node => {
        const back = behind(node);
        const [low, high] = [light(back), light([...back, getComputedStyle(node).color])].sort((a, b) => a - b);
        return [high / low, node.textContent.slice(0, 40)];
    }).sort((a, b) => a[0] - b[0])[0];
}"""


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_narrow_and_readable_in_both_themes(new_lab: NewLab, queue: Queue, theme: str, picture: Picture) -> None:
    lab = new_lab()
    lab.page.set_viewport_size({"width": 400, "height": 900})
    lab.start()
    lab.run("apputils:change-theme", {"theme": theme})
    queue.propose("push", _PUSH)
    long = "x" * 90
    queue.propose("egress", {"host": f"{long}.example.org", "route": f"{long}.example.org", "reason": long})
    panel = lab.show_panel()
    expect(panel.locator(".bb-card")).to_have_count(2)
    panel.get_by_text("Diff").click()
    expect(panel.locator(".bb-plus")).to_have_count(3)
    assert panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth")
    contrast, text = panel.evaluate(_LEAST_CONTRAST)
    assert contrast >= 4.5, text
    picture(lab.page)
