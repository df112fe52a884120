"""The queue: proposed once, shown as it is, decided once; nothing planted in its folder blocks or fools a reader."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bb_jupyter import approvals
from bb_jupyter.approvals import LivenessLock, Queue, changes, decide, get, is_alive, pending, status
from bb_jupyter.approvals.store import queue
from bb_jupyter.errors import AlreadyDecided, Flood, TokenMismatch, UnknownProposal, UsageError

SLUG = "demo-0123abcd"


@pytest.fixture
def bottle() -> Queue:
    return Queue(SLUG, "demo")


def ask(bottle: Queue, text: str = "May I?", **more: float | None) -> approvals.Proposal:
    return bottle.propose("question", {"question": text, "choices": []}, **more)  # type: ignore[arg-type]


def test_what_is_proposed_is_read_back_exactly_and_pending_until_decided(bottle: Queue) -> None:
    content = {"question": "Is 'é漢\u202e\x1b[31m' fine?", "choices": ["yes", "no"]}
    proposal = bottle.propose("question", content, expires=time.time() + 60)
    assert get(proposal.id) == proposal and get(proposal.id).content == content
    assert pending() == [proposal] == pending(SLUG) and pending("other-0123abcd") == []
    assert status(proposal.id).state == "pending" and bottle.decision(proposal.id) is None
    decision = decide(proposal.id, token=proposal.token, verdict="denied", why="no")
    assert pending() == [] and status(proposal.id).decision == decision == bottle.decision(proposal.id)
    assert (decision.verdict, decision.why) == ("denied", "no")


def test_numbers_are_unique_for_the_user_and_never_used_again(bottle: Queue) -> None:
    other = Queue("other-0123abcd", "other")
    assert [ask(bottle).id, ask(other).id, ask(bottle, "more").id] == [1, 2, 3]
    assert bottle.end() == [] and ask(bottle).id == 4


def test_a_counter_that_is_lost_goes_on_after_the_highest_number(bottle: Queue, home: Path) -> None:
    ask(bottle), ask(bottle, "two")
    (home / "approvals" / ".counter").write_text("rubbish")
    assert ask(bottle, "three").id == 3


def test_a_decision_names_what_was_shown(bottle: Queue) -> None:
    first, second = ask(bottle), ask(bottle, "Something else?")
    for token in (second.token, "", "0" * 64, "ü"):
        with pytest.raises(TokenMismatch):
            decide(first.id, token=token, verdict="approved")
    assert status(first.id).state == "pending"


def test_the_same_content_has_another_token_in_another_bottle_and_under_another_number(bottle: Queue) -> None:
    first = ask(bottle)
    decide(first.id, token=first.token, verdict="approved")
    again, other = ask(bottle), ask(Queue("other-0123abcd", "demo"))
    assert len({first.token, again.token, other.token}) == 3
    with pytest.raises(TokenMismatch):
        decide(again.id, token=first.token, verdict="approved")


def test_one_of_many_at_once_decides(bottle: Queue) -> None:
    proposal = ask(bottle)

    def attempt(number: int) -> str | None:
        try:
            decide(proposal.id, token=proposal.token, verdict="approved" if number % 2 else "denied", why=str(number))
        except AlreadyDecided:
            return None
        return str(number)

    with ThreadPoolExecutor(16) as pool:
        winners = [done for done in pool.map(attempt, range(64)) if done]
    decision = status(proposal.id).decision
    assert decision is not None and winners == [decision.why]


def _propose(count: int) -> list[int]:
    mine = Queue(f"p{os.getpid()}-0123abcd", "p")
    return [ask(mine, str(number)).id for number in range(count)]


def test_processes_that_propose_at_once_get_different_numbers() -> None:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        numbers = [number for some in pool.map(_propose, [8] * 4) for number in some]
    assert sorted(numbers) == list(range(1, 33)) and len(pending()) == 32


def test_a_verdict_is_approved_or_denied_and_words_are_few(bottle: Queue) -> None:
    proposal = ask(bottle)
    with pytest.raises(UsageError):
        decide(proposal.id, token=proposal.token, verdict="withdrawn")
    with pytest.raises(UsageError):
        decide(proposal.id, token=proposal.token, verdict="denied", why="x" * 1_000_000)
    with pytest.raises(UnknownProposal, match=r"Did you mean|Known"):
        decide(99, token=proposal.token, verdict="denied")


def test_what_expires_is_denied_and_cannot_be_approved(bottle: Queue) -> None:
    proposal = ask(bottle, expires=time.time() - 1)
    assert pending() == [] and status(proposal.id).state == "expired"
    with pytest.raises(AlreadyDecided, match="expired"):
        decide(proposal.id, token=proposal.token, verdict="approved")
    assert bottle.decision(proposal.id) is not None


async def test_who_waits_hears_the_decision_the_end_of_time_and_the_end_of_the_bottle(bottle: Queue) -> None:
    first, second, third = ask(bottle), ask(bottle, "2", expires=time.time() + 0.3), ask(bottle, "3")
    waiting = [asyncio.create_task(bottle.wait(proposal.id)) for proposal in (first, second, third)]
    await asyncio.sleep(0)
    decide(first.id, token=first.token, verdict="approved")
    assert (await waiting[0]).verdict == "approved" and (await waiting[1]).verdict == "expired"
    assert bottle.end() == []
    assert (await waiting[2]).verdict == "withdrawn"


def test_equal_requests_are_one_and_a_changed_one_takes_the_place_of_the_old(bottle: Queue) -> None:
    first = bottle.propose("push", {"refs": ["a"]}, fold_key="widgets")
    assert bottle.propose("push", {"refs": ["a"]}, fold_key="widgets") == first
    second = bottle.propose("push", {"refs": ["b"]}, fold_key="widgets")
    assert pending() == [second]
    with pytest.raises(AlreadyDecided, match="withdrawn"):
        decide(first.id, token=first.token, verdict="approved")
    assert bottle.propose("question", {"refs": ["b"]}, fold_key="widgets").id != second.id


def test_a_flood_is_held_back_and_other_bottles_are_not(bottle: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Flood, match="wait for the human"):
        for number in range(1000):
            ask(bottle, str(number))
    assert len(pending()) == queue.MOST_PENDING
    assert ask(bottle, "3").id == 4  # one that waits already is no new one
    monkeypatch.setattr(queue, "MOST_NEW", 20)
    with pytest.raises(Flood, match="minutes") as flood:
        for number in range(100):
            waiting = pending(SLUG)[0]
            decide(waiting.id, token=waiting.token, verdict="denied")
            ask(Queue(SLUG, "demo"), f"again {number}")  # a restarted broker counts on
    assert "Try again in" in flood.value.hint
    assert ask(Queue("other-0123abcd", "other"))


def test_a_bottle_that_asks_for_ever_fills_no_disk(bottle: Queue, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MOST_NEW", 10_000)
    kept = bottle.propose("push", {"refs": []})
    decide(kept.id, token=kept.token, verdict="approved")
    for number in range(queue._KEPT + 30):
        proposal = ask(bottle, str(number))
        decide(proposal.id, token=proposal.token, verdict="denied")
    files = [*(home / "approvals" / SLUG).iterdir()]
    assert len(files) <= 2 * queue._KEPT + 10
    assert get(kept.id), "an approved push that nobody has released is not forgotten"


def test_content_is_plain_json_of_a_bounded_size(bottle: Queue) -> None:
    for content in ({"x": object()}, {"x": float("nan")}, {"x": "y" * (2 << 20)}):
        with pytest.raises(UsageError):
            bottle.propose("question", content)
    assert pending() == []


def test_a_failed_effect_leaves_it_held_for_a_new_decision(bottle: Queue) -> None:
    proposal = bottle.propose("push", {"refs": []})
    decide(proposal.id, token=proposal.token, verdict="approved")
    bottle.report(proposal.id, ok=False, text="upstream moved", held=True)
    standing = status(proposal.id)
    assert standing.state == "pending" and standing.outcome and standing.outcome.text == "upstream moved"
    assert pending() == [proposal] and [held.id for held in bottle.end()] == [proposal.id]
    decide(proposal.id, token=proposal.token, verdict="approved", why="again")
    bottle.report(proposal.id, ok=True, text="released")
    assert bottle.report(proposal.id, ok=False, text="too late").text == "released"
    assert status(proposal.id).settled and pending() == [] and bottle.end() == []


def test_only_what_was_decided_has_an_outcome_and_only_its_own_bottle_tells(bottle: Queue) -> None:
    proposal = ask(bottle)
    with pytest.raises(UsageError, match="not decided"):
        bottle.report(proposal.id, ok=True)
    with pytest.raises(UnknownProposal):
        Queue("other-0123abcd", "other").withdraw(proposal.id, "mine now")


def test_the_end_of_a_bottle_takes_back_all_but_held_pushes(bottle: Queue, home: Path) -> None:
    push, question = bottle.propose("push", {"refs": []}), ask(bottle)
    (home / "approvals" / SLUG / "staged-1f").write_text("offered")
    assert bottle.end() == [push]
    assert status(question.id).state == "withdrawn" and pending() == [push]
    assert not (home / "approvals" / SLUG / "staged-1f").exists()
    decide(push.id, token=push.token, verdict="denied", why="no")
    assert bottle.end() == [] and not (home / "approvals" / SLUG).exists()


def test_changes_tells_every_change_and_nothing_else(bottle: Queue) -> None:
    seen = [changes()]
    proposal = ask(bottle)
    seen.append(changes())
    decide(proposal.id, token=proposal.token, verdict="approved")
    seen.append(changes())
    bottle.report(proposal.id, ok=True)
    seen.append(changes())
    pending(), get(proposal.id), LivenessLock(SLUG).close()
    assert changes() == seen[-1] and len({*seen}) == 4
    bottle.end()
    assert changes() == seen[0]


def test_a_broker_that_lives_is_seen_and_there_is_one_of_a_bottle() -> None:
    assert not is_alive(SLUG)
    presence = LivenessLock(SLUG)
    assert is_alive(SLUG)
    with pytest.raises(BlockingIOError):
        LivenessLock(SLUG)
    presence.close()
    assert not is_alive(SLUG)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _symlink(path: Path) -> None:
    secret = path.parent.parent / "elsewhere.json"
    secret.write_text(json.dumps({"id": 1}))
    path.symlink_to(secret)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 34)


def _deep(path: Path) -> None:
    path.write_text("[" * 1_000_000)


def _not_an_object(path: Path) -> None:
    path.write_text('"approved"')


def _folder(path: Path) -> None:
    path.mkdir()


PLANTED = [_fifo, _symlink, _huge, _deep, _not_an_object, _folder]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("plant", PLANTED)
def test_what_is_planted_as_a_proposal_is_not_there(bottle: Queue, home: Path, plant: Callable[[Path], None]) -> None:
    proposal = ask(bottle)
    for name in ("2.json", "99.json", "x.json", "1.1.outcome.json"):
        plant(home / "approvals" / SLUG / name)
        (home / "approvals" / "elsewhere.json").unlink(missing_ok=True)
    assert pending() == [proposal] and changes()
    with pytest.raises(UnknownProposal):
        get(2)
    assert ask(bottle, "next").id == 100


@pytest.mark.timeout(60)
@pytest.mark.parametrize("plant", PLANTED)
async def test_what_is_planted_as_a_decision_is_never_a_yes(
    bottle: Queue, home: Path, plant: Callable[[Path], None]
) -> None:
    proposal = ask(bottle)
    plant(home / "approvals" / SLUG / "1.1.decision.json")
    assert status(proposal.id).state == "denied" and (await bottle.wait(proposal.id)).verdict == "denied"
    with pytest.raises(AlreadyDecided):
        decide(proposal.id, token=proposal.token, verdict="approved")


def test_a_decision_about_something_else_is_never_a_yes(bottle: Queue, home: Path) -> None:
    folder = home / "approvals" / SLUG
    first, second = ask(bottle), ask(bottle, "2")
    decide(first.id, token=first.token, verdict="approved")
    stolen = json.loads((folder / "1.1.decision.json").read_text())
    for forged in (
        stolen,
        {**stolen, "id": 2},
        {**stolen, "id": 2, "token": "0" * 64},
        {**stolen, "id": 2, "round": 2},
    ):
        (folder / "2.1.decision.json").write_text(json.dumps(forged))
        assert status(second.id).state == "denied"


def test_a_proposal_that_was_changed_is_not_there(bottle: Queue, home: Path) -> None:
    proposal = ask(bottle)
    file = home / "approvals" / SLUG / "1.json"
    for change in (
        {"content": {"question": "Other?"}},
        {"bottle": "else"},
        {"slug": "x"},
        {"kind": "push"},
        {"extra": 1},
    ):
        file.write_text(json.dumps({**proposal.to_json(), **change}))
        assert pending() == []
    copied = home / "approvals" / "other-0123abcd"
    copied.mkdir()
    (copied / "1.json").write_text(json.dumps(proposal.to_json()))
    assert pending() == [], "one bottle's proposal is none of another's"


@pytest.mark.timeout(60)
def test_a_bottles_folder_that_is_a_link_or_a_fifo_is_no_queue(bottle: Queue, home: Path, tmp_path: Path) -> None:
    ask(bottle)
    (home / "approvals" / SLUG).rename(tmp_path / "moved")
    (home / "approvals" / SLUG).symlink_to(tmp_path / "moved")
    os.mkfifo(home / "approvals" / "pipe-0123abcd")
    assert pending() == [] == pending(SLUG)
    with pytest.raises(OSError):
        ask(bottle)
    with pytest.raises(UsageError):
        Queue("../state", "x")


def test_nobody_else_reads_the_queue(bottle: Queue, home: Path) -> None:
    proposal = ask(bottle)
    decide(proposal.id, token=proposal.token, verdict="approved")
    for path in (home / "approvals").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
