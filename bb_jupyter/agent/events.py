"""What an agent does while it works: the same few events whichever agent it is.

All text in them was written by the agent, so it is hostile: data to be shown escaped, never an instruction or markup.

The same events, as JSON lines, are the protocol that `AgentProvider.parse` reads unless a provider overrides it:
an object whose `type` is an event's kind and whose other keys are its fields, such as

    {"type": "text", "text": "Looking for the failing test."}
    {"type": "tool_call", "id": "1", "name": "run", "input": {"command": "pytest -q"}}
    {"type": "tool_result", "id": "1", "output": "2 passed", "error": false}
    {"type": "final", "text": "Done."}

A line that is no such object is shown as the text it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from bb_jupyter.agent.untrusted import at, count, dumped, json_object, number, text

#: Longest one-line summary of a tool call, in characters.
_SUMMARY = 200
#: What a tool call is about, in the order in which these keys of its input are looked for.
_TELLING = ("command", "cmd", "file_path", "path", "pattern", "url", "query", "description", "prompt", "question")


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
    """The agent is up.

    Attributes:
        session: names the conversation, for resuming it.
        model: the model it works with; empty when it does not say.
    """

    kind: ClassVar[str] = "started"
    session: str = ""
    model: str = ""


@dataclass(frozen=True)
class Text(AgentEvent):
    """The agent says something.

    Attributes:
        text: what it says.
        partial: it is the next piece of a text whose whole will follow as one event that is not partial.
    """

    kind: ClassVar[str] = "text"
    text: str = ""
    partial: bool = False


@dataclass(frozen=True)
class Thinking(AgentEvent):
    """The agent thinks aloud; the fields are those of `Text`."""

    kind: ClassVar[str] = "thinking"
    text: str = ""
    partial: bool = False


@dataclass(frozen=True)
class ToolCall(AgentEvent):
    """The agent uses a tool.

    Attributes:
        id: its result has the same.
        name: the tool.
        input: what the tool is given: plain JSON values.
    """

    kind: ClassVar[str] = "tool_call"
    id: str = ""
    name: str = ""
    input: Mapping[str, Any] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """What the call is about, in one line."""
        told = next((self.input[key] for key in _TELLING if isinstance(self.input.get(key), str)), None)
        line = " ".join((told if told is not None else dumped(dict(self.input))).split())
        return line if len(line) <= _SUMMARY else line[: _SUMMARY - 1] + "…"


@dataclass(frozen=True)
class ToolResult(AgentEvent):
    """What a tool answered.

    Attributes:
        id: that of the call.
        output: as text.
        error: the tool failed.
    """

    kind: ClassVar[str] = "tool_result"
    id: str = ""
    output: str = ""
    error: bool = False


@dataclass(frozen=True)
class Usage(AgentEvent):
    """What the run has used so far, in all; the last one counts.

    Attributes:
        input_tokens: tokens that the model read, cached ones included.
        output_tokens: tokens that it wrote.
        cached_tokens: those of the input that came from a cache.
        turns: how often the model was asked; 0 when the agent does not say.
        cost: US dollars; `None` when the agent does not say.
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
        message: what.
        retrying: the agent goes on by itself; else it gave up.
    """

    kind: ClassVar[str] = "failure"
    message: str = ""
    retrying: bool = False


@dataclass(frozen=True)
class Other(AgentEvent):
    """Something that this version knows nothing of, such as an event of a newer agent.

    Attributes:
        name: what the agent calls it.
        text: all of it.
    """

    kind: ClassVar[str] = "other"
    name: str = ""
    text: str = ""


def from_line(line: str) -> Iterable[AgentEvent]:
    """Read a line of the protocol above.  Never raises."""
    data = json_object(line)
    if data is None:
        return (Text(line),) if line.strip() else ()
    reader = _READERS.get(text(data, "type"))
    return (reader(data, text(data, "parent")),) if reader else (unknown(data),)


def unknown(data: dict[str, Any]) -> Other:
    """Return an object of which nothing is known as the event that shows it."""
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
