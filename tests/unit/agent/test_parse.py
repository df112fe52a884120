"""What Claude Code and Codex printed, recorded, and what is made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bb_jupyter.agent import get_provider
from bb_jupyter.agent.events import (
    AgentEvent,
    Failure,
    Final,
    Other,
    Started,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
    from_line,
)
from bb_jupyter.testing import hostile_lines

_RECORDED = Path(__file__).parent / "recorded"
COMMAND = "echo hi > made.txt; cat made.txt"


def recorded(agent: str) -> list[str]:
    return (_RECORDED / f"{agent}.jsonl").read_text().splitlines()


def parsed(agent: str, *lines: str) -> list[AgentEvent]:
    return [event for line in lines for event in get_provider(agent).parse(line)]


def test_claude() -> None:
    session = "0a136e36-e095-4693-9b07-5155580c34ee"
    events = parsed("claude", *recorded("claude"))
    assert [event for event in events if not getattr(event, "partial", False)] == [
        Started(session, "claude-opus-4-8[1m]"),
        Failure("the model's service failed: rate_limit (429); attempt 1 of 2", retrying=True),
        Thinking("let me think"),
        Text("I will write."),
        ToolCall("toolu_1", "Bash", {"command": COMMAND, "description": "w"}),
        ToolResult("toolu_1", "hi"),
        Text("All **done**."),
        Usage(200, 29, 0, 2, 0.001725),
        Final("All **done**."),
    ]
    assert "".join(event.text for event in events if isinstance(event, Text) and event.partial) == "".join(
        event.text for event in events if isinstance(event, Text) and not event.partial
    )


def test_codex() -> None:
    assert parsed("codex", *recorded("codex")) == [
        Started("01a207aa-eaf3-7a40-ad70-7620c3e4ef29"),
        Thinking("let me think"),
        ToolCall("item_2", "command_execution", {"command": f"/bin/bash -lc '{COMMAND}'"}),
        ToolResult("item_2", "hi\n"),
        Text("All **done**."),
        Usage(200, 18, 20),
    ]


def test_a_failed_result_of_claude_is_a_failure() -> None:
    line = '{"type":"result","subtype":"success","is_error":true,"result":"API Error: 401","usage":{}}'
    assert parsed("claude", line)[-1] == Failure("API Error: 401")
    line = '{"type":"result","subtype":"error_max_turns","is_error":false,"usage":{}}'
    assert parsed("claude", line)[-1] == Failure("error_max_turns")


def test_a_sub_agents_events_name_the_call_within_which_they_happened() -> None:
    block = {"type": "text", "text": "found it"}
    line = json.dumps({"type": "assistant", "message": {"content": [block]}, "parent_tool_use_id": "toolu_9"})
    assert parsed("claude", line) == [Text("found it", parent="toolu_9")]


def test_tool_results_may_be_blocks() -> None:
    content = [{"type": "text", "text": "a"}, {"type": "image", "source": {}}]
    block = {"type": "tool_result", "tool_use_id": "t", "content": content, "is_error": True}
    line = json.dumps({"type": "user", "message": {"content": [block]}})
    assert parsed("claude", line) == [ToolResult("t", "a\n[image]", error=True)]


def test_codex_tools() -> None:
    change = {"id": "i", "type": "file_change", "changes": [{"path": "a.py", "kind": "add"}], "status": "completed"}
    plan = {"id": "j", "type": "todo_list", "items": [{"text": "one", "completed": True}, {"text": "two"}]}
    failed = {"id": "k", "type": "mcp_tool_call", "error": {"message": "no"}, "status": "failed"}
    items = [json.dumps({"type": "item.completed", "item": item}) for item in (change, plan, failed)]
    assert parsed("codex", *items) == [
        ToolResult("i", "add a.py"),
        Thinking("[x] one\n[ ] two"),
        ToolResult("k", "no", error=True),
    ]


@pytest.mark.parametrize("agent", ["claude", "codex"])
def test_whatever_is_changed_in_what_an_agent_prints_it_stays_events(agent: str) -> None:
    provider = get_provider(agent)
    for line in hostile_lines(recorded(agent)):
        for event in provider.parse(line):
            assert isinstance(event, AgentEvent)
            json.dumps(event.as_dict()).encode()


def test_unknown_kinds_are_shown_as_text() -> None:
    for agent in ("claude", "codex", "shell"):
        (event,) = parsed(agent, '{"type":"brand.new","subtype":"thing","n":1}')
        assert isinstance(event, Other) and event.name == "brand.new.thing" and '"n": 1' in event.text
        assert parsed(agent, "Segmentation fault") == [Text("Segmentation fault")]


@pytest.mark.parametrize(
    "event",
    [
        Started("s", "m"),
        Text("é\n", partial=True, parent="1"),
        Thinking("hm"),
        ToolCall("1", "run", {"command": "ls", "deep": [{"a": None}]}),
        ToolResult("1", "x", error=True),
        Usage(1, 2, 3, 4, 0.5),
        Final("**done**"),
        Failure("no", retrying=True),
        Other("new", "{}"),
    ],
    ids=lambda event: event.kind,
)
def test_the_protocol_reads_what_events_write(event: AgentEvent) -> None:
    assert list(from_line(json.dumps(event.as_dict()))) == [event]


def test_hostile_text_stays_data() -> None:
    (event,) = from_line('{"type":"text","text":"\\ud800 <script>\\u001b[2J"}')
    assert event == Text("\ufffd <script>\x1b[2J")
    (usage,) = from_line('{"type":"usage","input_tokens":-1,"output_tokens":1e999,"cost":"free"}')
    assert usage == Usage()


def test_a_tool_call_is_told_in_one_line() -> None:
    assert ToolCall("1", "run", {"command": "a\n  b"}).summary == "a b"
    assert ToolCall("1", "x", {"n": 1}).summary == '{"n": 1}'
    assert len(ToolCall("1", "run", {"command": "x" * 1000}).summary) == 200
