"""The agent's way to its human: every tool, the wait, and what a client that goes away leaves."""

from __future__ import annotations

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bb_jupyter.approvals import Proposal, decide, get, pending, status
from bb_jupyter.approvals.store import staging
from bb_jupyter.approvals.store.storage import approvals_dir
from bb_jupyter.broker import effects
from bb_jupyter.broker.supervise.file_offers import FileOffers
from bb_jupyter.errors import AlreadyDecided, Flood, TokenMismatch, UnknownProposal, UsageError
from tests.integration.approvals.supervise_service import agent, asked, call, served
from tests.tools.fake_broker import SLUG, FakeBroker


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


async def approved(number: int, **more: Any) -> Any:
    return await asyncio.to_thread(effects.approve, number, **more)


def denied(proposal: Proposal, why: str = "no") -> None:
    effects.deny(proposal.id, why=why)


async def test_the_tools_and_what_they_are_for_are_told(broker: FakeBroker) -> None:
    async with served(broker, 42) as port, agent(port) as client:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == {"request_host", "ask", "propose_file", "report", "decisions"}
        assert all(tool.description and "ctx" not in str(tool.input_schema) for tool in tools)
        assert "42 s" in str(client.instructions)


async def test_an_approved_host_is_put_in_force_by_the_owner_and_the_agent_is_told(broker: FakeBroker) -> None:
    async with served(broker) as port, agent(port) as client:
        wish = {"host": "Docs.Python.org.", "methods": ["get"], "paths": ["/3/"], "reason": "to read"}
        job = asyncio.create_task(call(client, "request_host", **wish))
        proposal = await asked()
        assert proposal.content["route"] == "docs.python.org (GET; /3/)" and proposal.content["reason"] == "to read"
        standing = await approved(proposal.id, why="only that")
        assert standing.outcome.ok and standing.outcome.detail == {"generation": 2}
        text, error = await job
        assert not error and "approved" in text and "only that" in text and "docs.python.org (GET; /3/)" in text
        assert [event["id"] for event in broker.told("apply")] == [proposal.id]
        listed, _ = await call(client, "decisions")
        assert "docs.python.org" in listed and "approved" in listed and "only that" in listed


async def test_a_route_that_the_owner_cannot_put_in_force_is_no_yes(broker: FakeBroker) -> None:
    broker.owner = lambda event, fields: {"error": "the gateway died"}
    async with served(broker) as port, agent(port) as client:
        job = asyncio.create_task(call(client, "request_host", host="a.example", reason="r"))
        standing = await approved((await asked()).id)
        assert not standing.outcome.ok and "the gateway died" in standing.outcome.text
        assert "the gateway died" in (await job)[0]


@pytest.mark.parametrize(
    "host",
    ["*.com", "*", "10.0.0.1", "0x7f.1", "metadata.google.internal", "https://a.example/x", "a.example@b", "a\0b", ""],
)
async def test_a_host_that_no_route_may_have_is_refused_at_once(broker: FakeBroker, host: str) -> None:
    async with served(broker) as port, agent(port) as client:
        text, error = await call(client, "request_host", host=host, reason="r")
        assert error and pending() == [], text


@pytest.mark.parametrize(
    "more",
    [
        {"port": 0},
        {"methods": ["CONNECT"]},
        {"paths": ["//x"]},
        {"paths": ["x"]},
        {"reason": ""},
        {"reason": "x" * 9999},
    ],
)
async def test_wrong_arguments_are_refused_at_once(broker: FakeBroker, more: dict[str, Any]) -> None:
    async with served(broker) as port, agent(port) as client:
        _, error = await call(client, "request_host", **{"host": "a.example", "reason": "r", **more})
        assert error and pending() == []


async def test_a_question_is_answered_in_words_or_by_a_choice(broker: FakeBroker) -> None:
    async with served(broker) as port, agent(port) as client:
        job = asyncio.create_task(call(client, "ask", question="Which name?"))
        number = (await asked()).id
        with pytest.raises(UsageError, match="say the answer"):
            effects.approve(number)
        await approved(number, answer="Widget")
        assert (await job)[0].startswith("The human answered: Widget")
        job = asyncio.create_task(call(client, "ask", question="Which?", choices=["left", "right"]))
        number = (await asked()).id
        with pytest.raises(UsageError, match="Did you mean 'right'"):
            effects.approve(number, answer="rigth")
        await approved(number, answer="right")
        assert (await job)[0].startswith("The human answered: right")


async def test_a_denial_gives_the_reason_and_is_no_error(broker: FakeBroker) -> None:
    async with served(broker) as port, agent(port) as client:
        job = asyncio.create_task(call(client, "request_host", host="a.example", reason="r"))
        denied(await asked(), "use the mirror")
        text, error = await job
        assert not error and "denied" in text and "use the mirror" in text and broker.told("apply") == []


async def test_what_nobody_answers_is_denied_in_time(broker: FakeBroker) -> None:
    async with served(broker, timeout=0.4) as port, agent(port) as client:
        text, error = await call(client, "ask", question="Anybody?")
        assert not error and "Nobody answered" in text and pending() == []
        with pytest.raises(AlreadyDecided):
            effects.approve(1, answer="late")


async def test_equal_calls_are_one_request_and_all_hear_the_answer(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Proposal] = []
    propose = broker.queue.propose
    monkeypatch.setattr(
        broker.queue, "propose", lambda *args, **more: calls.append(propose(*args, **more)) or calls[-1]
    )
    async with served(broker) as port, agent(port) as one, agent(port) as two:
        jobs = [asyncio.create_task(call(client, "ask", question="Same?")) for client in (one, two, one)]
        while len(calls) < 3:
            await asyncio.sleep(0.02)
        assert len(pending()) == 1
        await approved(calls[0].id, answer="yes")
        assert {(await job)[0] for job in jobs} == {"The human answered: yes"}
        assert len(broker.told("proposal")) == 1


async def test_a_client_that_goes_away_takes_its_request_along(broker: FakeBroker) -> None:
    async with served(broker) as port:
        async with agent(port) as client:
            job = asyncio.create_task(call(client, "ask", question="Are you there?"))
            number = (await asked()).id
            job.cancel()
        while pending():
            await asyncio.sleep(0.02)
        decision = status(number).decision
        assert decision and decision.verdict == "withdrawn"


async def test_what_a_dead_broker_left_is_seen_to_by_the_next(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = {"host": "a.example", "route": "a.example", "manifest": {"host": "a.example"}}
    done = broker.queue.propose("egress", route)
    decide(done.id, token=done.token, verdict="approved")
    waits = broker.queue.propose("question", {"question": "Same?", "choices": []}, expires=time.time() + 60)
    asked_again: list[Proposal] = []
    propose = broker.queue.propose
    monkeypatch.setattr(broker.queue, "propose", lambda *a, **more: asked_again.append(propose(*a, **more)) or waits)
    async with served(broker) as port, agent(port) as client:
        job = asyncio.create_task(call(client, "ask", question="Same?"))
        while status(done.id).outcome is None or not asked_again:
            await asyncio.sleep(0.02)
        assert asked_again == [waits]
        assert [event["id"] for event in broker.told("apply")] == [done.id]
        standing = await approved(waits.id, answer="yes")
        assert standing.outcome and standing.outcome.ok
        assert (await job)[0] == "The human answered: yes"


async def test_an_agent_floods_nobody(broker: FakeBroker) -> None:
    async with served(broker, timeout=30) as port, agent(port) as client:
        jobs = [asyncio.create_task(call(client, "ask", question=str(number))) for number in range(40)]
        done, waiting = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        while len(jobs) - len(done) > 16:
            done, waiting = await asyncio.wait(jobs, timeout=0.05)
        assert len(pending()) == 16 and all(job.result()[1] for job in done)
        for job in waiting:
            job.cancel()
    reports = FakeBroker()
    async with served(reports) as port, agent(port) as client:
        answers = [await call(client, "report", status=f"step {number}") for number in range(70)]
        assert [error for _, error in answers].count(True) == 10 and len(reports.told("status")) == 60


async def test_a_report_is_told_and_does_not_wait(broker: FakeBroker) -> None:
    async with served(broker) as port, agent(port) as client:
        await call(client, "report", status="half way")
        await call(client, "report", status="finished", done=True)
        assert [(event["text"], event["done"]) for event in broker.told("status")] == [
            ("half way", False),
            ("finished", True),
        ]


def offering(content: bytes) -> Any:
    """Return an owner that fetches this content."""

    def owner(event: str, fields: dict[str, Any]) -> dict[str, Any]:
        staging.store(SLUG, staging.request_name(-fields["id"]), [content[:3], content[3:]])
        return {"generation": 0}

    return owner


async def test_an_offered_file_is_shown_and_copied_as_it_was_offered(broker: FakeBroker, tmp_path: Path) -> None:
    broker.owner = offering(b"result: 42\n")
    async with served(broker) as port, agent(port) as client:
        job = asyncio.create_task(call(client, "propose_file", path="out/../.hidden result.txt", reason="done"))
        proposal = await asked()
        digest = hashlib.sha256(b"result: 42\n").hexdigest()
        assert proposal.content["files"] == [{"path": "hidden_result.txt", "size": 11, "sha256": digest}]
        assert proposal.content["text"] == "result: 42\n"
        with pytest.raises(UsageError, match="no folder"):
            effects.approve(proposal.id, to=tmp_path / "none" / "x")
        (tmp_path / "taken").write_text("mine")
        with pytest.raises(UsageError, match="there already"):
            effects.approve(proposal.id, to=tmp_path / "taken")
        standing = await approved(proposal.id, to=tmp_path)
        assert standing.outcome.ok and (tmp_path / "hidden_result.txt").read_text() == "result: 42\n"
        text, _ = await job
        assert "have the file" in text and str(tmp_path) not in text and str(tmp_path) in standing.outcome.text
        assert str(tmp_path) not in (await call(client, "decisions"))[0] and (tmp_path / "taken").read_text() == "mine"
    assert not list((broker.queue._folder.path).glob("staged-*"))


async def test_without_a_path_a_file_goes_to_the_bottles_inbox_under_a_free_name(
    broker: FakeBroker, home: Path
) -> None:
    async with served(broker) as port, agent(port) as client:
        for content in (b"one", b"two"):
            broker.owner = offering(content)
            job = asyncio.create_task(call(client, "propose_file", path="r.txt", reason="done"))
            await approved((await asked()).id)
            await job
    inbox = home / "inbox" / "demo"
    assert {path.name: path.read_text() for path in inbox.iterdir()} == {"r.txt": "one", "r-2.txt": "two"}


async def test_a_last_slash_means_a_folder_which_is_made(broker: FakeBroker, tmp_path: Path) -> None:
    broker.owner = offering(b"one")
    async with served(broker) as port, agent(port) as client:
        job = asyncio.create_task(call(client, "propose_file", path="r.txt", reason="done"))
        proposal = await asked()
        with pytest.raises(UsageError, match="no folder"):
            effects.approve(proposal.id, to=f"{tmp_path}/none/results/")
        (tmp_path / "taken").write_text("mine")
        with pytest.raises(UsageError, match="there already"):
            effects.approve(proposal.id, to=f"{tmp_path}/taken/")
        await approved(proposal.id, to=f"{tmp_path}/results/")
        await job
    assert (tmp_path / "results" / "r.txt").read_text() == "one"


async def test_a_staged_file_that_was_changed_is_not_copied(broker: FakeBroker, tmp_path: Path) -> None:
    broker.owner = offering(b"what was shown")
    async with served(broker) as port, agent(port) as client:
        job = asyncio.create_task(call(client, "propose_file", path="r.txt", reason="done"))
        proposal = await asked()
        staging.staged(SLUG, proposal.content["staged"]).write_bytes(b"something else")
        standing = await approved(proposal.id, to=tmp_path)
        assert not standing.outcome.ok and list(tmp_path.iterdir()) == []
        assert "could not be copied" in (await job)[0]


def on_disk() -> list[Path]:
    return sorted(approvals_dir().glob("*/staged-*"))


async def test_files_that_are_too_many_to_be_offered_do_not_stay_on_the_disk(broker: FakeBroker) -> None:
    broker.owner = offering(b"much")
    broker.queue.propose("question", {})
    offers = FileOffers(broker, broker.proposals, 60)
    jobs = [asyncio.create_task(offers.offer("r.txt", f"reason {number}")) for number in range(30)]
    while sum(job.done() for job in jobs) < 15:
        await asyncio.sleep(0.02)
    assert all(isinstance(job.exception(), Flood) for job in jobs if job.done())
    assert {proposal.content["staged"] for proposal in pending()[1:]} == {path.name for path in on_disk()}
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    while on_disk():
        await asyncio.sleep(0.02)


async def test_a_file_whose_offer_was_given_up_while_it_came_does_not_stay_on_the_disk(broker: FakeBroker) -> None:
    comes, here = asyncio.Event(), asyncio.Event()

    async def applied(number: int) -> dict[str, Any]:
        comes.set()
        await here.wait()
        staging.store(SLUG, staging.request_name(-number), [b"late"])
        return {}

    broker.queue.propose("question", {})
    broker.applied = applied  # type: ignore[method-assign]
    offers = FileOffers(broker, broker.proposals, 60)
    job = asyncio.create_task(offers.offer("r.txt", "r"))
    await comes.wait()
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    another = asyncio.create_task(offers.offer("r.txt", "another"))
    here.set()
    proposal = await asked(2)
    assert [path.name for path in on_disk()] == [proposal.content["staged"]]
    another.cancel()


async def test_a_file_that_cannot_be_had_is_told(broker: FakeBroker) -> None:
    broker.owner = lambda event, fields: {"error": "there is no such file"}
    async with served(broker) as port, agent(port) as client:
        text, error = await call(client, "propose_file", path="gone", reason="done")
        assert error and "there is no such file" in text and pending() == []


def test_a_file_larger_than_the_limit_is_not_staged() -> None:
    FakeBroker().queue.propose("question", {})
    with pytest.raises(UsageError, match="larger"):
        staging.store(SLUG, staging.request_name(1), (b"x" * (1 << 20) for _ in range(100)))
    with pytest.raises(UsageError):
        staging.staged(SLUG, "staged-../../x")


async def test_the_word_on_a_push_is_waited_for_and_another_bottles_is_not_told(broker: FakeBroker) -> None:
    push = broker.queue.propose("push", {"refs": [{"name": "refs/heads/main"}]})
    from bb_jupyter.approvals import Queue

    other = Queue("other-0123abcd", "other").propose("question", {"question": "secret plan"})
    async with served(broker) as port, agent(port) as client:
        job = asyncio.create_task(call(client, "decisions", number=push.id))
        decide(push.id, token=push.token, verdict="denied", why="tests are missing")
        assert "tests are missing" in (await job)[0]
        text, error = await call(client, "decisions", number=other.id)
        assert await call(client, "decisions", number=other.id * 10) == (text.replace("2", "20"), True)
        assert error and "secret" not in text
        listed, _ = await call(client, "decisions")
        assert "refs/heads/main" in listed and "secret" not in listed


async def test_only_what_was_shown_is_decided_and_arguments_fit_the_kind(broker: FakeBroker) -> None:
    async with served(broker) as port, agent(port) as client:
        job = asyncio.create_task(call(client, "ask", question="Go?"))
        proposal = await asked()
        with pytest.raises(TokenMismatch):
            effects.approve(proposal.id, answer="x", token="0" * 64)
        for wrong in ({"refs": ["main"]}, {"to": "/tmp"}):
            with pytest.raises(UsageError, match="is no"):
                effects.approve(proposal.id, answer="x", **wrong)  # type: ignore[arg-type]
        with pytest.raises(UnknownProposal):
            effects.deny(proposal.id + 1, why="")
        denied(proposal)
        await job


def test_when_the_bottle_is_gone_nothing_is_approved(broker: FakeBroker) -> None:
    proposal = broker.queue.propose("question", {"question": "?"})
    with pytest.raises(UsageError, match="gone"):
        effects.approve(proposal.id, answer="x")
    assert get(proposal.id) and pending() == []


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "127.0.0.1:9100"}, {"Host": "supervise:9100", "Origin": "http://evil.example"}],
)
async def test_other_hosts_and_origins_are_refused(broker: FakeBroker, headers: dict[str, str]) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"Accept": "application/json, text/event-stream"}
    async with served(broker) as port, httpx2.AsyncClient(timeout=30) as http:
        answer = await http.post(f"http://127.0.0.1:{port}/", json=body, headers={**accept, **headers})
        assert answer.status_code in (403, 421)
        big = await http.post(
            f"http://127.0.0.1:{port}/", content=b"x" * 400_000, headers={**accept, "Host": "supervise:9100"}
        )
        assert big.status_code == 413


async def test_clients_of_older_protocols_are_told_that_the_call_lives(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bb_jupyter.broker.supervise import tools

    monkeypatch.setattr(tools, "_ALIVE", 0.05)
    signs: list[float] = []

    async def alive(progress: float, total: float | None, message: str | None) -> None:
        signs.append(progress)

    async with served(broker) as port, agent(port, mode="legacy") as client:
        job = asyncio.create_task(client.call_tool("ask", {"question": "Slow?"}, progress_callback=alive))
        proposal = await asked()
        while len(signs) < 3:
            await asyncio.sleep(0.02)
        await approved(proposal.id, answer="yes")
        assert (await job).content[0].text == "The human answered: yes"  # type: ignore[union-attr]
