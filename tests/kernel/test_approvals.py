"""A cell that waits for its human, and the other notebook where they decide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bb_jupyter import approvals
from tests.browser import asking
from tests.kernel.conftest import NewNotebook
from tests.kernel.notebook import Cell, Notebook

pytestmark = pytest.mark.bubblewrap

#: What a hostile bottle writes into every field: terminal escapes, bidi and zero-width characters, HTML, Markdown.
HOSTILE = "\x1b[2J\x1b]0;title\x07\u202egpj\u200b<script>alert(1)</script>![x](http://evil.test/p.png)<img src=x>"


@pytest.fixture
def pair(new_notebook: NewNotebook) -> Iterator[tuple[Notebook, Notebook]]:
    """The notebook of the bottle, where a bottle that may ask is declared, and another one; both plain."""
    first, second = new_notebook(plain=True), new_notebook(plain=True)
    assert first.run(asking.MANIFEST).ok
    return first, second


def ask(name: str, tool: str, **arguments: Any) -> str:
    return asking.cell(name, tool, json.dumps(arguments).replace("'", "\\u0027"))


def told(cell: Cell) -> bool:
    assert not cell.idle, (cell.stdout, cell.stderr, cell.error)
    return "%bottle approve" in cell.stderr


def test_a_cell_says_what_is_asked_and_how_to_decide_and_goes_on_when_another_notebook_approved(
    pair: tuple[Notebook, Notebook], bottle_name: str
) -> None:
    first, second = pair
    running = first.start(ask(bottle_name, "ask", question="Which colour?", choices=["red", "blue"]))
    said = first.until(running, told).stderr
    assert "Which colour?" in said and "%bottle approve 1 --answer TEXT" in said and "%bottle deny 1" in said
    shown = second.run(f"%bottle approvals {bottle_name}").stdout
    assert "Which colour?" in shown and "red" in shown and "blue" in shown
    wrong = second.run("%bottle approve 1 --answer bleu")
    assert "Did you mean 'blue'?" in wrong.error and len(wrong.error.splitlines()) <= 2
    assert "approved: blue" in second.run("%bottle approve 1 --answer blue --why 'it is nicer'").stdout
    cell = first.finish(running)
    assert cell.ok and "HEARD The human answered: blue They say: it is nicer" in cell.stdout, cell.stdout
    assert cell.stdout.index("BEFORE") < cell.stdout.index("HEARD") < cell.stdout.index("AFTER")
    assert f"1. {bottle_name} asks: Which colour? — approved: blue (it is nicer)" in cell.stderr
    assert second.run("%bottle approvals").stdout == "nothing waits for a decision\n"
    again = second.run("%bottle deny 1 --why no")
    assert again.error.startswith("AlreadyDecided: request 1 is approved already")


def test_a_denial_and_its_reason_reach_the_agent_and_the_cell(
    pair: tuple[Notebook, Notebook], bottle_name: str
) -> None:
    first, second = pair
    running = first.start(ask(bottle_name, "request_host", host="a.example", reason="to read"))
    first.until(running, told)
    assert second.run("%bottle deny 1").error.startswith("UsageError")
    assert second.run("%bottle deny 1 --why 'use the mirror'").ok
    cell = first.finish(running)
    assert "HEARD The human denied this" in cell.stdout and "use the mirror" in cell.stdout
    assert "denied (use the mirror)" in cell.stderr
    assert (
        "network     nothing (every request is refused)"
        in first.run(f"%bottle plan {bottle_name} --bottle asks").stdout
    )


def test_an_approved_host_is_reachable_at_once_for_this_bottle_alone(
    pair: tuple[Notebook, Notebook], bottle_name: str
) -> None:
    first, second = pair
    assert first.run(f"%%bottle {bottle_name}-b --bottle asks").ok
    running = first.start(
        ask(bottle_name, "request_host", host="Docs.Python.org", methods=["GET"], paths=["/3/"], reason="to read")
    )
    assert "docs.python.org (GET; /3/)" in first.until(running, told).stderr
    approved = second.run("import bb_jupyter\nprint(bb_jupyter.approve(1).outcome.text)")
    assert approved.stdout == "In force: docs.python.org (GET; /3/).\n"
    assert "In force: docs.python.org (GET; /3/)." in first.finish(running).stdout
    assert "policy 2: docs.python.org (GET; /3/)" in first.run(f"%bottle egress {bottle_name}").stdout
    assert "docs.python.org" not in first.run(f"%bottle egress {bottle_name}-b").stdout
    events = first.run(f"import bb_jupyter; print(*bb_jupyter.audit('{bottle_name}')['event'])").stdout
    assert "proposal" in events and "decision" in events and "outcome" in events


def test_what_nobody_answers_is_denied_and_the_cell_goes_on(pair: tuple[Notebook, Notebook], bottle_name: str) -> None:
    first, second = pair
    assert first.run("%%bottle_manifest asks\nsupervise: {timeout: 2s}").ok
    cell = first.run(ask(bottle_name, "ask", question="Anybody?"))
    assert cell.ok and "HEARD Nobody answered in time" in cell.stdout and "expired" in cell.stderr
    assert "expired" in second.run("%bottle approve 1 --answer late").error
    assert "expired" in second.run("%bottle approvals --all").stdout


def test_a_budget_that_a_process_asks_for_is_shown_in_the_running_cell_and_granted_by_the_command(
    pair: tuple[Notebook, Notebook], bottle_name: str
) -> None:
    first, second = pair
    running = first.start(ask(bottle_name, "ask", question="Go on?"))
    first.until(running, told)
    [waiting] = approvals.pending()
    more = {"resource": "money", "amount": 5, "spent": 9.5, "limit": 10, "reason": "the tests are long", "run": "r1"}
    budget = approvals.Queue(waiting.slug, waiting.bottle).propose("budget", more)
    assert "wants $5.00 more for r1" in first.until(running, lambda cell: "$5.00" in cell.stderr).stderr
    shown = second.run(f"%bottle approvals {budget.id}").stdout
    assert "$9.50 of $10.00" in shown and f"%bottle approve {budget.id} [--granted AMOUNT]" in shown
    assert second.complete(f"%bottle approve {budget.id} --gr")["matches"] == ["--granted"]
    granted = second.run(f"%bottle approve {budget.id} --granted 2.50")
    assert granted.stdout.endswith("— approved: Granted: $2.50.\n")
    assert second.run(f"import bb_jupyter; bb_jupyter.approve({waiting.id}, answer='yes')").ok
    assert "— approved: Granted: $2.50." in first.finish(running).stderr


def test_an_interrupt_of_the_waiting_cell_takes_the_request_back(
    pair: tuple[Notebook, Notebook], bottle_name: str
) -> None:
    first, second = pair
    running = first.start(ask(bottle_name, "ask", question="Shall I?"))
    first.until(running, told)
    first.interrupt()
    assert "interrupted" in first.finish(running).error
    late = second.run("import bb_jupyter, time\nwhile bb_jupyter.approvals(): time.sleep(0.05)")
    assert late.ok and "withdrawn" in second.run("%bottle approve 1 --answer x").error


def test_a_restart_of_the_kernel_that_waits_leaves_nothing_to_approve(
    pair: tuple[Notebook, Notebook], home: Path, bottle_name: str
) -> None:
    first, second = pair
    running = first.start(ask(bottle_name, "ask", question="Still there?"))
    first.until(running, told)
    handle = approvals.Queue("gone-0123abcd", "gone").propose("push", {"alias": "w", "refs": [], "url": "u"})
    first.restart()
    shown = second.run("import bb_jupyter, time\nwhile len(bb_jupyter.approvals()) > 1: time.sleep(0.05)")
    assert shown.ok and f"{handle.id}. gone wants to push to w" in second.run("%bottle approvals").stdout
    assert not second.run("%bottle approve 1 --answer yes").ok
    assert "denied (no)" in second.run(f"%bottle deny {handle.id} --why no").stdout


def test_equal_requests_are_told_once_and_a_flood_stays_readable(
    pair: tuple[Notebook, Notebook], bottle_name: str
) -> None:
    first, second = pair
    one = ask(bottle_name, "ask", question="Same?").partition("python3 ask.py")[2].partition("\n")[0]
    flood = ask(bottle_name, "ask", question="Same?").replace(
        f"python3 ask.py{one}",
        f"for n in 1 2 3; do python3 ask.py{one} & done\n"
        'for n in $(seq 30); do python3 ask.py ask "{\\"question\\": \\"Number $n?\\"}" & done; sleep 600',
    )
    running = first.start(flood)
    count = "print(len(bb_jupyter.approvals()))"
    second.run("import bb_jupyter, time\nwhile len(bb_jupyter.approvals()) < 16: time.sleep(0.05)")
    told = first.until(running, lambda cell: "requests wait for the human already" in cell.stdout)
    assert second.run(count).stdout == "16\n"
    said = told.stderr  # what is interrupted withdraws its request, which makes room for another
    first.interrupt()
    first.finish(running)
    assert said.count("asks: Same?") <= 2 and said.count("→ %bottle approve") <= 16


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "rich"])
def test_hostile_text_in_every_field_is_shown_as_what_it_is(
    new_notebook: NewNotebook, bottle_name: str, plain: bool
) -> None:
    first, second = new_notebook(plain=plain), new_notebook(plain=plain)
    assert first.run(asking.MANIFEST).ok
    running = first.start(ask(bottle_name, "ask", question=HOSTILE, choices=[HOSTILE[:150], "b"]))
    first.until(running, lambda cell: "gpj" in everything(cell))
    listed = second.run("%bottle approvals")
    table = second.run("%bottle approvals --all")
    assert second.run("%bottle deny 1 --why no").ok
    for cell in (first.finish(running), listed, table):
        clean(cell)
    push = {
        **{
            "alias": HOSTILE,
            "url": HOSTILE,
            "diff": f"diff --git a/{HOSTILE} b/{HOSTILE}\n+{HOSTILE}\n",
            "truncated": True,
        },
        "refs": [{"name": HOSTILE, "old": HOSTILE, "new": HOSTILE, "kind": HOSTILE}],
        "commits": [dict.fromkeys(("sha", "author", "date", "subject", "body"), HOSTILE)],
        "files": [{**dict.fromkeys(("path", "status", "added", "deleted"), HOSTILE), "binary": False}],
        "findings": [HOSTILE, {"rule": HOSTILE}],
    }
    queue = approvals.Queue("gone-0123abcd", "gone")
    queue.propose("push", push)
    queue.propose(
        "copy-out", {"path": HOSTILE, "reason": HOSTILE, "files": [{"path": HOSTILE, "size": 1}], "text": HOSTILE}
    )
    for cell in (
        second.run("%bottle approvals"),
        second.run("%bottle approvals --all"),
        second.run("%bottle approvals 2"),
    ):
        clean(cell)
    shown = second.run("import bb_jupyter; bb_jupyter.approvals()")
    assert "\x1b[2J" not in str(shown.messages)


def everything(cell: Cell) -> str:
    return cell.stdout + cell.stderr + "".join(str(display) for display in cell.displays)


def clean(cell: Cell) -> None:
    """Nothing of `HOSTILE` acts: not in a terminal, not as text, not as HTML."""
    texts = [cell.stdout, cell.stderr, *(display["text/plain"] for display in cell.displays)]
    for text in texts:
        assert not {"\x1b", "\x07", "\u202e", "\u200b"} & {*text}, text
    for display in cell.displays:
        markup = display["text/html"]
        assert not {"\x1b", "\x07", "\u202e", "\u200b"} & {*markup}
        assert "<script" not in markup and "<img" not in markup and 'src="' not in markup
        assert "text/markdown" not in display


def test_numbers_and_bottles_complete_and_mistakes_are_two_lines(
    pair: tuple[Notebook, Notebook], bottle_name: str
) -> None:
    _, second = pair
    queue = approvals.Queue("gone-0123abcd", "gone")
    queue.propose("push", {"alias": "w", "refs": [{"name": "refs/heads/main"}], "url": "u"})
    for line in ("%bottle approve ", "%bottle deny "):
        assert "1" in second.complete(line)["matches"]
    assert "gone" in second.complete("%bottle approvals ")["matches"]
    assert second.complete("%bottle approve 1 --ref ")["matches"] == ["main"]
    queue.propose("question", {"question": "?", "choices": ["blue", "light red", "r\u202eed"]})
    assert second.complete("%bottle approve 2 --answer ")["matches"] == ["blue", "'light red'"]
    for line, words in {
        "%bottle approve 3": "there is no request 3",
        "%bottle approve x": "not the number of a request",
        "%bottle approve 1 --ref mian": "Did you mean 'main'?",
        "%bottle approve 1 --answer x": "is no question",
        "%bottle approvals gnoe": "Did you mean 'gone'?",
        "%bottle approve": "ID",
    }.items():
        error = second.run(line).error
        assert words in error and len(error.splitlines()) <= 2, error
