"""The real Claude Code and Codex list and call the tools of the human's MCP server, and wait for the human."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bb_jupyter import api, approvals
from bb_jupyter.agent.events import ToolCall, ToolResult
from bb_jupyter.approvals import Proposal
from bb_jupyter.core.agent_run import AgentResult
from bb_jupyter.core.bottle_handle import BottleHandle
from tests.integration.agents.endpoint import ModelEndpoint
from tests.tools.broker import broker_pid

TOOLS = ("request_host", "ask", "propose_file", "report", "decisions")


@pytest.fixture
def more() -> str:
    return "supervise: {timeout: 2m}"


def work(bottle: BottleHandle, decide: Callable[[Proposal], object]) -> AgentResult:
    """Let the agent work, and decide the first thing that it asks for."""
    results: list[AgentResult] = []
    thread = threading.Thread(target=lambda: results.append(bottle.ask("Work.", resume=False).wait()))
    thread.start()
    while not (waiting := approvals.pending(bottle.slug)) and thread.is_alive():
        thread.join(0.05)
    if waiting:
        decide(waiting[0])
    thread.join(200)
    assert waiting, results
    return results[0]


def answer(result: AgentResult) -> str:
    assert result.ok, result.events
    (call,) = [event for event in result.events if isinstance(event, ToolCall)]
    (came,) = [event for event in result.events if isinstance(event, ToolResult)]
    assert came.id == call.id and not came.error, came
    return came.output


def test_the_model_asks_and_the_humans_answer_reaches_it(bottle: BottleHandle, endpoint: ModelEndpoint) -> None:
    endpoint.commands = [("ask", {"question": "Which colour?", "choices": ["red", "blue"]})]
    said = answer(work(bottle, lambda proposal: api.approve(proposal.id, answer="blue", why="it is nicer")))
    assert "The human answered: blue They say: it is nicer" in said
    _, body = endpoint.requests[-1]
    assert "The human answered: blue" in str(body), "the model hears it"


def test_an_agent_asks_by_the_broker_that_took_over(bottle: BottleHandle, endpoint: ModelEndpoint) -> None:
    """Codex does not start at all without its human's server."""
    restarted = threading.Event()
    bottle.bottle.broker.events.append(lambda event: event["event"] == "broker-restarted" and restarted.set())
    os.kill(broker_pid(bottle), signal.SIGKILL)
    assert restarted.wait(60)
    endpoint.commands = [("ask", {"question": "Still there?"})]
    assert "The human answered: yes" in answer(work(bottle, lambda proposal: api.approve(proposal.id, answer="yes")))


def test_the_tools_are_listed_by_the_agent(bottle: BottleHandle, endpoint: ModelEndpoint, agent: str) -> None:
    """Codex tells its model of many tools only when the model asks: by a program that looks at all of them."""
    endpoint.commands = [("", {})] if agent == "codex" else []
    result = bottle.ask("Work.").wait()
    assert result.ok, result.events
    offered = str([body for _, body in endpoint.requests])
    assert all(f"mcp__supervise__{tool}" in offered for tool in TOOLS)


def test_a_host_that_the_human_allows_is_reachable_and_a_denied_one_is_told(
    bottle: BottleHandle, endpoint: ModelEndpoint
) -> None:
    endpoint.commands = [("request_host", {"host": "docs.python.org", "methods": ["GET"], "reason": "to read"})]
    assert "In force: docs.python.org (GET" in answer(work(bottle, lambda proposal: api.approve(proposal.id)))
    routes = bottle.bottle.network.routes
    assert routes and any(route.host == "docs.python.org" for route in routes.routes)
    endpoint.commands = [("request_host", {"host": "packages.test", "reason": "to install"})]
    denied = answer(work(bottle, lambda proposal: api.deny(proposal.id, why="use the mirror")))
    assert "denied" in denied and "use the mirror" in denied


def test_a_file_is_handed_out(bottle: BottleHandle, endpoint: ModelEndpoint, tmp_path: Any) -> None:
    assert bottle.exec(["sh", "-c", "echo 42 > result.txt"]).wait().returncode == 0
    endpoint.commands = [("propose_file", {"path": "result.txt", "reason": "it is done"})]
    said = answer(work(bottle, lambda proposal: api.approve(proposal.id, to=tmp_path)))
    assert "have the file" in said and (tmp_path / "result.txt").read_text() == "42\n"


def test_an_agent_that_waits_longer_than_its_clients_usual_limit_hears_the_answer(
    bottle: BottleHandle, endpoint: ModelEndpoint
) -> None:
    """Codex gives up after 60 s by itself, Claude Code's requests after 60 s without a sign of life."""
    endpoint.commands = [("ask", {"question": "Long?"})]
    waited = threading.Event()

    def late(proposal: Proposal) -> None:
        waited.wait(70)
        api.approve(proposal.id, answer="at last")

    assert "at last" in answer(work(bottle, late))
