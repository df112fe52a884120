"""The real Claude Code and Codex in a bottle, through the gateway, in front of a scripted model."""

from __future__ import annotations

from pathlib import Path

import pytest

from bb_jupyter.agent import get_provider
from bb_jupyter.agent.events import Failure, Final, Started, Text, Thinking, ToolCall, ToolResult
from bb_jupyter.core.bottle_handle import BottleHandle
from tests.integration.agents.conftest import SECRET, Launch
from tests.integration.agents.endpoint import SAID, THOUGHT, Mode, ModelEndpoint
from tests.leftovers import SLUG_LABEL, Engine


def test_a_prompt_ends_in_an_answer_with_its_tool_call_done_in_the_bottle(
    bottle: BottleHandle, endpoint: ModelEndpoint
) -> None:
    endpoint.commands = ["echo made by the agent > made.txt; cat made.txt"]
    result = bottle.ask("Make the file.").wait()
    assert result.ok, result.events
    assert bottle.exec(["cat", "made.txt"]).wait().stdout == b"made by the agent\n"
    assert result.changed == ("made.txt",)
    kinds = [type(event) for event in result.events]
    assert kinds[0] is Started and kinds[-1] is Final, kinds
    said = [event.text for event in result.events if isinstance(event, Text)]
    assert SAID in said and result.answer.startswith("All **done**")
    assert [event.text for event in result.events if isinstance(event, Thinking)] == [THOUGHT]
    (call,) = [event for event in result.events if isinstance(event, ToolCall)]
    (answer,) = [event for event in result.events if isinstance(event, ToolResult)]
    assert "made by the agent > made.txt" in call.summary and answer.id == call.id
    assert answer.output.strip() == "made by the agent" and not answer.error
    assert result.usage.input_tokens == 200 and result.usage.output_tokens > 0


def test_the_service_gets_the_credential_that_nothing_in_the_bottle_holds(
    bottle: BottleHandle, endpoint: ModelEndpoint, backend: str, request: pytest.FixtureRequest
) -> None:
    endpoint.commands = ["env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'"]
    result = bottle.ask("Look around.").wait()
    assert result.ok, result.events
    assert {credential.removeprefix("Bearer ") for credential in endpoint.credentials} == {SECRET}
    assert SECRET not in str(result.events)
    found = bottle.exec(["grep", "-rlaF", SECRET, "/home", "/tmp", "/etc", "/opt"]).wait()
    assert found.stdout == b""
    assert SECRET not in bottle.plan.text()
    if backend == "docker":
        assert SECRET not in known_to(request.getfixturevalue("engine"), bottle.plan.slug)


def known_to(engine: Engine, slug: str) -> str:
    """Return all that the engine tells of a bottle's containers and their images."""
    with engine.client() as client:
        containers = client.containers.list(all=True, filters={"label": f"{SLUG_LABEL}={slug}"})
        assert containers
        return str([(found.attrs, found.image.attrs, found.image.history()) for found in containers])


@pytest.mark.parametrize("agent", ["claude-oauth"], indirect=True)
def test_a_subscriptions_token_is_sent_as_a_bearer(bottle: BottleHandle, endpoint: ModelEndpoint) -> None:
    result = bottle.ask("Hello.").wait()
    assert result.ok, result.events
    assert endpoint.credentials == {"Bearer sk-ant-oat01-scripted-0123456789abcdef"}
    environment = bottle.exec(["env"]).wait().stdout
    assert b"CLAUDE_CODE_OAUTH_TOKEN=placeholder" in environment and b"sk-ant-oat01" not in environment


def test_the_humans_mcp_server_is_known_to_the_agent(bottle: BottleHandle, agent: str) -> None:
    get_provider(agent).provision_supervise_mcp(bottle.plan, bottle.bottle, "http://supervise:9100/")
    listed = {"claude": ["claude", "mcp", "list"], "codex": ["codex", "mcp", "list"]}[agent]
    assert b"http://supervise:9100/" in bottle.exec(listed).wait().stdout


@pytest.mark.parametrize("mode", ["401", "429", "500", "drop"])
def test_a_service_that_fails_gives_a_clear_event_and_a_non_zero_result(
    bottle: BottleHandle, endpoint: ModelEndpoint, mode: Mode
) -> None:
    endpoint.mode = mode
    result = bottle.ask("Try.").wait()
    assert not result.ok and result.returncode > 0
    assert isinstance(result.events[-1], Failure) and not result.events[-1].retrying
    assert result.failure
    if mode in ("401", "429"):
        assert mode in result.failure
    assert endpoint.requests


def test_a_service_that_never_answers_is_ended_by_the_time_limit(bottle: BottleHandle, endpoint: ModelEndpoint) -> None:
    endpoint.mode = "never"
    result = bottle.ask("Try.", timeout=6).wait()
    assert result.timed_out and result.returncode == 124
    assert "time limit" in result.failure


@pytest.mark.parametrize(
    "prompt",
    [
        """quotes ' " ` $HOME $(id) \\ and \ttabs""",
        "line one\nline two\n\n  line four",
        "--help",
        "-p --resume 0 -- -",
        "é ü 漢字 🧪",
        "long " + "0123456789" * 20_000,
    ],
    ids=["quotes", "lines", "option", "options", "unicode", "200kB"],
)
def test_a_prompt_arrives_as_it_is(bottle: BottleHandle, endpoint: ModelEndpoint, prompt: str) -> None:
    result = bottle.ask(prompt).wait()
    assert result.ok, result.events
    assert prompt in endpoint.prompts, [t[:200] for t in endpoint.prompts]


def test_the_next_prompt_goes_on_with_the_conversation_and_a_new_one_does_not(
    bottle: BottleHandle, endpoint: ModelEndpoint
) -> None:
    first = bottle.ask("The first prompt.").wait()
    second = bottle.ask("The second prompt.").wait()
    assert first.ok and second.ok, second.events
    assert second.session == first.session
    assert {"The first prompt.", "The second prompt."} <= set(endpoint.prompts)
    third = bottle.ask("The third prompt.", resume=False).wait()
    assert third.ok and third.session != first.session
    assert "The first prompt." not in endpoint.prompts
    back = bottle.ask("The fourth prompt.", resume=first.session).wait()
    assert back.ok, back.events
    assert {"The first prompt.", "The fourth prompt."} <= set(endpoint.prompts)


def test_an_interrupt_stops_the_agent_keeps_the_transcript_and_it_can_go_on(
    bottle: BottleHandle, endpoint: ModelEndpoint
) -> None:
    endpoint.commands = ["touch started; sleep 1000"]
    run = bottle.ask("Work for long.")
    for event in run:
        if isinstance(event, ToolCall):
            break
    result = run.result
    assert result.interrupted and not result.ok and isinstance(result.events[-1], Failure)
    assert any(isinstance(event, ToolCall) for event in result.events)
    assert bottle.exec(["pgrep", "-f", "sleep 1000"]).wait().returncode == 1
    endpoint.commands = []
    again = bottle.ask("Go on.", resume=True).wait()
    assert again.ok, again.events
    assert {"Work for long.", "Go on."} <= set(endpoint.prompts)


def test_model_instructions_and_skills_of_the_agents_manifest_reach_the_model(
    launch: Launch, endpoint: ModelEndpoint, home: Path, agent: str
) -> None:
    (home / "agents").mkdir()
    model = {"claude": "claude-haiku-4-5", "codex": "gpt-5-codex"}[agent]
    head = f"---\nprovider: {agent}\nmodel: {model}\nskills: [greeting]\n---\n"
    (home / "agents" / "fixer.md").write_text(head + "Always sign as FIXER-7.\n")
    skill = home / "skills" / "greeting"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: greeting\ndescription: how to greet on Tuesdays\n---\nSay hello.\n")
    result = launch(agent="fixer").ask("Who are you?").wait()
    assert result.ok, result.events
    _, body = endpoint.requests[-1]
    assert body["model"] == model
    assert "FIXER-7" in str(body) and "how to greet on Tuesdays" in str(body)
