"""Events of an agent at work, the same for every kind of agent.

All text in events comes from the agent, so it is hostile: it is shown escaped, never taken as instruction or markup.

As JSON lines, the events are the protocol that `AgentProvider.parse` reads unless a provider overrides it.  A line is
an object: `type` is the kind of event, and the other keys are its fields:

    {"type": "text", "text": "Looking for the failing test."}
    {"type": "tool_call", "id": "1", "name": "run", "input": {"command": "pytest -q"}}
    {"type": "tool_result", "id": "1", "output": "2 passed", "error": false}
    {"type": "final", "text": "Done."}

Any other line becomes a `Text` event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from bb_jupyter.agent.untrusted_json import at, count, dumped, json_object, number, text

#: Longest one-line summary of a tool call, in characters.
_SUMMARY = 200
#: Keys of a tool's input, the first of which that exists becomes the summary of a call.
_SUMMARY_KEYS = ("command", "cmd", "file_path", "path", "pattern", "url", "query", "description", "prompt", "question")


@dataclass(frozen=True)
class AgentEvent:
    """Something that an agent did.

    Attributes:
        kind: the name of the kind of event.
        parent: id of the tool call within which it happened (a sub-agent's); empty for the agent itself.
    """

    kind: ClassVar[str] = ""
    parent: str = field(default="", kw_only=True, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the event as plain values, as `from_line` reads them."""
        return {"type": self.kind, **{name: value for name, value in asdict(self).items() if value not in ("", None)}}


@dataclass(frozen=True)
class Started(AgentEvent):
    """The agent has started.

    Attributes:
        session: name of the conversation, for resuming it.
        model: the agent's model; empty when unknown.
    """

    kind: ClassVar[str] = "started"
    session: str = ""
    model: str = ""


@dataclass(frozen=True)
class Text(AgentEvent):
    """Text of the agent.

    Attributes:
        text: the text.
        partial: it is the next piece of a text; the whole text follows as an event that is not partial.
    """

    kind: ClassVar[str] = "text"
    text: str = ""
    partial: bool = False


@dataclass(frozen=True)
class Thinking(AgentEvent):
    """Text of the agent's reasoning; the fields are those of `Text`."""

    kind: ClassVar[str] = "thinking"
    text: str = ""
    partial: bool = False


@dataclass(frozen=True)
class ToolCall(AgentEvent):
    """The agent calls a tool.

    Attributes:
        id: id of the call; its result has the same.
        name: name of the tool.
        input: the tool's arguments: plain JSON values.
    """

    kind: ClassVar[str] = "tool_call"
    id: str = ""
    name: str = ""
    input: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """The call's subject in one line, such as the command or the path."""
        subject = next((self.input[key] for key in _SUMMARY_KEYS if isinstance(self.input.get(key), str)), None)
        line = " ".join((subject if subject is not None else dumped(dict(self.input))).split())
        return line if len(line) <= _SUMMARY else line[: _SUMMARY - 1] + "…"


@dataclass(frozen=True)
class ToolResult(AgentEvent):
    """The result of a tool call.

    Attributes:
        id: id of the call.
        output: the result as text.
        error: the tool failed.
    """

    kind: ClassVar[str] = "tool_result"
    id: str = ""
    output: str = ""
    error: bool = False


@dataclass(frozen=True)
class Usage(AgentEvent):
    """Totals of the run so far; the last event counts.

    Attributes:
        input_tokens: tokens of the model's input, cached ones included.
        output_tokens: tokens of the model's output.
        cached_tokens: tokens of the input that came from a cache.
        turns: number of requests to the model; 0 when unknown.
        cost: US dollars; `None` when unknown.
    """

    kind: ClassVar[str] = "usage"
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    turns: int = 0
    cost: float | None = None


@dataclass(frozen=True)
class Final(AgentEvent):
    """The agent's answer, in Markdown."""

    kind: ClassVar[str] = "final"
    text: str = ""


@dataclass(frozen=True)
class Failure(AgentEvent):
    """Something went wrong.

    Attributes:
        message: the error's message.
        retrying: the agent tries again by itself; else it gave up.
    """

    kind: ClassVar[str] = "failure"
    message: str = ""
    retrying: bool = False


@dataclass(frozen=True)
class Other(AgentEvent):
    """An event that this version does not know, such as one of a newer agent.

    Attributes:
        name: the agent's name of the event.
        text: the whole event as text.
    """

    kind: ClassVar[str] = "other"
    name: str = ""
    text: str = ""


def from_line(line: str) -> Iterable[AgentEvent]:
    """Parse a line of the protocol above.  Never raises."""
    data = json_object(line)
    if data is None:
        return (Text(line),) if line.strip() else ()
    reader = _READERS.get(text(data, "type"))
    return (reader(data, text(data, "parent")),) if reader else (unknown(data),)


def unknown(data: dict[str, Any]) -> Other:
    """Return an unknown object as an `Other` event."""
    name = ".".join(filter(None, (text(data, "type"), text(data, "subtype"))))
    return Other(name, dumped(data))


def _usage(data: dict[str, Any], parent: str) -> Usage:
    read, written, cached, turns = (
        count(data, key) for key in ("input_tokens", "output_tokens", "cached_tokens", "turns")
    )
    return Usage(read, written, cached, turns, number(data, "cost"), parent=parent)


def _tool_call(data: dict[str, Any], parent: str) -> ToolCall:
    given = at(data, "input")
    return ToolCall(text(data, "id"), text(data, "name"), given if isinstance(given, dict) else {}, parent=parent)


_READERS: dict[str, Callable[[dict[str, Any], str], AgentEvent]] = {
    "started": lambda data, parent: Started(text(data, "session"), text(data, "model"), parent=parent),
    "text": lambda data, parent: Text(text(data, "text"), at(data, "partial") is True, parent=parent),
    "thinking": lambda data, parent: Thinking(text(data, "text"), at(data, "partial") is True, parent=parent),
    "tool_call": _tool_call,
    "tool_result": lambda data, parent: ToolResult(
        text(data, "id"), text(data, "output"), at(data, "error") is True, parent=parent
    ),
    "usage": _usage,
    "final": lambda data, parent: Final(text(data, "text"), parent=parent),
    "failure": lambda data, parent: Failure(text(data, "message"), at(data, "retrying") is True, parent=parent),
    "other": lambda data, parent: Other(text(data, "name"), text(data, "text"), parent=parent),
}
