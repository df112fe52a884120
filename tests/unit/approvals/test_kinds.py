"""A kind of request is one Python file and one part of the page; what was proposed before is read as it was."""

from __future__ import annotations

import asyncio
import importlib
from importlib.resources import files
from typing import Any

import pytest

from bb_jupyter import api, approvals
from bb_jupyter.approvals import Proposal, Queue, decide, get, kinds, pending, status
from bb_jupyter.approvals.kinds import budget, push
from bb_jupyter.approvals.store.storage import Folder
from bb_jupyter.errors import UnknownProposal, UsageError
from bb_jupyter.notebook import commands, complete
from bb_jupyter.notebook.views.proposal_view import as_html, as_text, title
from bb_jupyter.webapi import routes
from tests.tools.fake_broker import NAME, SLUG, FakeBroker

ASKED = {"resource": "tokens", "amount": 50_000, "spent": 190_000, "limit": 200_000, "run": "fix-7", "reason": "tests"}
#: One proposal of each kind as it was written to disk before kinds had files of their own.
WRITTEN: dict[str, dict[str, Any]] = {
    "egress": {
        "host": "h.example", "port": 443, "scheme": "https", "reason": "r", "methods": ["GET"], "paths": [],
        "route": "h.example (GET)", "manifest": {"host": "h.example", "methods": ["GET"]},
    },
    "push": {
        "alias": "w", "url": "/up/w.git", "identity": "", "host_key": "", "username": "", "token_ref": "", "ca": "",
        "refs": [{"name": "refs/heads/main", "old": "0" * 40, "new": "a" * 40, "kind": "create"}],
        "commits": [{"sha": "a" * 40, "author": "A", "date": "2026", "subject": "s", "body": "b"}],
        "files": [{"path": "p", "status": "A", "added": 1, "deleted": 0, "binary": False}],
        "diff": "diff --git a/p b/p\n+x\n", "truncated": False, "totals": {"commits": 1, "files": 1},
        "findings": [{"rule": "a private key", "path": "p", "line": 1, "where": "commit a"}],
    },
    "question": {"question": "Which?", "choices": ["a", "b"]},
    "copy-out": {
        "path": "r.txt", "reason": "r", "files": [{"path": "r.txt", "size": 1, "sha256": "b" * 64}], "size": 1,
        "text": "x", "staged": "staged-1f",
    },
}  # fmt: skip


@pytest.fixture
def queue() -> Queue:
    return Queue(SLUG, NAME)


def test_every_kind_is_one_file_here_and_one_of_the_page() -> None:
    assert kinds.names() == ("budget", "copy-out", "egress", "push", "question")
    parts = files("bb_jupyter") / "frontend" / "kinds"
    drawn = {part.name.removesuffix(".js"): part.read_text("utf-8") for part in parts.iterdir()}
    for name in kinds.names():
        module = name.replace("-", "_")
        assert kinds.get(name).name == name == importlib.import_module(f"bb_jupyter.approvals.kinds.{module}").kind.name
        assert f'addKind("{name}", {{' in drawn.pop(module)
    assert not drawn


def test_options_have_one_meaning() -> None:
    declared = [option.name for name in kinds.names() for option in kinds.get(name).options]
    assert sorted(declared) == sorted(kinds.options()) == ["answer", "granted", "refs", "to"]


@pytest.mark.parametrize("kind", WRITTEN)
def test_what_is_on_disk_is_read_whole(queue: Queue, kind: str) -> None:
    proposal = queue.propose(kind, WRITTEN[kind])
    content = kinds.of(proposal).read(get(proposal.id))
    assert content.to_json() == {name: value for name, value in WRITTEN[kind].items() if name != "totals"}


@pytest.mark.parametrize("kind", [*WRITTEN, "budget"])
@pytest.mark.parametrize("value", [None, 1, -1.5, True, "\x1b[2J", [], [[]], {}, [{"name": 1}], {"a": [1]}, "9" * 5000])
def test_what_has_another_shape_is_left_out(queue: Queue, kind: str, value: Any) -> None:
    names = {**WRITTEN.get(kind, ASKED)}
    proposal = Proposal(7, SLUG, NAME, kind, 0.0, None, "", dict.fromkeys(names, value)).sealed()
    found = kinds.of(proposal)
    assert "\x1b" not in as_text(proposal) + as_html(proposal)
    assert found.content.from_json(found.page(found.read(proposal))) == found.read(proposal)


def test_a_kind_that_is_not_known_is_not_there(queue: Queue) -> None:
    with pytest.raises(UsageError, match="no kind of request 'bugdet'"):
        queue.propose("bugdet", {})
    queue.propose("question", {})
    draft = Proposal(2, SLUG, NAME, "later", 0.0, None, "", {})
    Folder(SLUG).write("2.json", draft.sealed().to_json())
    with pytest.raises(UnknownProposal):
        get(2)
    assert len(pending()) == 1


def test_a_push_that_names_no_whole_objects_is_not_released(queue: Queue) -> None:
    from bb_jupyter.broker.git_gate.release_push import chosen_refs

    for ref in ({"name": "refs/heads/main"}, {"name": "refs/heads/main", "old": "0" * 40, "new": ""}):
        with pytest.raises(UsageError):
            chosen_refs(queue.propose(push.kind.name, {"refs": [ref]}), None)


@pytest.fixture
async def asked(queue: Queue) -> Any:
    """A budget that another process than the broker asks for, while the broker runs."""
    broker = FakeBroker()
    async with broker.alive():
        yield queue.propose("budget", ASKED), broker


async def approved(number: int, **options: object) -> approvals.Status:
    return await asyncio.to_thread(api.approve, number, **options)


async def test_a_budget_is_shown_and_granted_as_asked(asked: tuple[Proposal, FakeBroker]) -> None:
    proposal, broker = asked
    assert title(proposal) == f"{proposal.id}. demo wants 50,000 tokens more for fix-7"
    shown = as_text(proposal)
    assert "190,000 tokens of 200,000 tokens" in shown and "tests" in shown and "[--granted AMOUNT]" in shown
    outcome = (await approved(proposal.id)).outcome
    assert outcome and outcome.ok and outcome.detail == {"resource": "tokens", "granted": 50_000}
    assert outcome.text == "Granted: 50,000 tokens."
    assert [event["event"] for event in broker.events] == ["proposal", "decision", "outcome"]


async def test_a_budget_is_no_more_than_was_typed(asked: tuple[Proposal, FakeBroker]) -> None:
    proposal, _ = asked
    for wrong in ("", "many", "-5", "0", "1e400", "nan", "inf", "9" * 5000):
        with pytest.raises(UsageError, match="granted"):
            await approved(proposal.id, granted=wrong)
    outcome = (await approved(proposal.id, granted=20_000)).outcome
    assert outcome and outcome.detail == {"resource": "tokens", "granted": 20_000}


async def test_a_budget_is_granted_by_the_command(
    asked: tuple[Proposal, FakeBroker], capsys: pytest.CaptureFixture[str]
) -> None:
    proposal, _ = asked
    assert "--granted AMOUNT" in commands.parser("approve").format_help()
    assert "--granted" in complete.candidates("%bottle", ["approve", str(proposal.id)])
    await asyncio.to_thread(commands.run, ["approve", str(proposal.id), "--granted", "30,000"], {})
    assert "approved: Granted: 30,000 tokens." in capsys.readouterr().out


async def test_a_budget_is_granted_by_the_page(asked: tuple[Proposal, FakeBroker]) -> None:
    proposal, _ = asked
    [row] = routes.answer("GET", "approvals", {}, {})[1]["approvals"]
    assert (row["kind"], row["content"]) == ("budget", ASKED)
    body = {"verdict": "approved", "token": row["token"], "why": ""}
    for wrong in ({"granted": []}, {"granted": "x"}, {"answer": "yes"}, {"refs": ["refs/heads/main"]}):
        code, told = await asyncio.to_thread(routes.answer, "POST", f"approvals/{proposal.id}", {}, {**body, **wrong})
        assert code == 400, told
    code, told = await asyncio.to_thread(
        routes.answer, "POST", f"approvals/{proposal.id}", {}, {**body, "granted": "100", "answer": ""}
    )
    assert code == 200 and told["outcome"]["text"] == "Granted: 100 tokens."


@pytest.mark.parametrize(
    ("resource", "typed", "granted", "shown"),
    [("money", "$2.50", 2.5, "$2.50"), ("time", "1h30m", 5400.0, "1h30m"), ("tokens", "5", 5, "5 tokens")],
)
async def test_amounts_are_typed_as_people_write_them(
    queue: Queue, resource: str, typed: str, granted: float, shown: str
) -> None:
    async with FakeBroker().alive():
        proposal = queue.propose("budget", {**ASKED, "resource": resource})
        standing = await approved(proposal.id, granted=typed)
    assert standing.outcome and standing.outcome.detail == {"resource": resource, "granted": granted}
    assert standing.outcome.text == f"Granted: {shown}."


async def test_a_budget_of_nothing_known_grants_nothing(queue: Queue) -> None:
    async with FakeBroker().alive():
        proposal = queue.propose("budget", {**ASKED, "resource": "fame"})
        with pytest.raises(UsageError):
            await approved(proposal.id, granted="x")
        outcome = (await approved(proposal.id)).outcome
    assert outcome and not outcome.ok and "detail" not in outcome.detail


def test_a_decision_that_names_no_amount_grants_nothing(queue: Queue) -> None:
    proposal = queue.propose("budget", ASKED)
    for granted in ("5", True, -1, None, [5]):
        decision = decide(proposal.id, token=proposal.token, verdict="approved", answer={"granted": granted})
        result = asyncio.run(budget.kind.effect(proposal, budget.kind.read(proposal), decision, None))  # type: ignore[arg-type]
        assert not result.ok
        queue.report(proposal.id, ok=False, held=True)
    assert status(proposal.id).state == "pending"
