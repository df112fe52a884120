"""An agent's output, split into lines, and the transcript of its events; both have a bounded size."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator

from bb_jupyter.agent.events import AgentEvent, Failure, Final, Started, Text, Thinking, Usage
from bb_jupyter.agent.prompt import is_session
from bb_jupyter.agent.untrusted_json import dumped

#: Longest line that is parsed as an event, in characters; a longer one is split.
MAX_LINE = 16 << 20
#: Most characters and most events in a transcript; a run may last for days.
KEPT_TEXT = 32 << 20
KEPT_EVENTS = 50_000
#: Characters that each event counts in addition to its text.
_OVERHEAD = 100


class Lines:
    """Splits bytes into lines of text.  Invalid UTF-8 is replaced; a line longer than `MAX_LINE` is split."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._parts: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[str]:
        """Take more bytes; yield the lines that they complete."""
        *lines, rest = self._decoder.decode(data).split("\n")
        for line in lines:
            self._parts.append(line)
            yield self._take()
        self._parts.append(rest)
        self._size += len(rest)
        if self._size > MAX_LINE:
            yield self._take()

    def finish(self) -> Iterator[str]:
        """Yield the last line if it has no line end."""
        self._parts.append(self._decoder.decode(b"", final=True))
        line = self._take()
        if line:
            yield line

    def _take(self) -> str:
        line = "".join(self._parts).removesuffix("\r")
        self._parts.clear()
        self._size = 0
        return line


class Transcript:
    """The events of a run, bounded.  Pieces of text whose whole never came are joined."""

    def __init__(self) -> None:
        self.events: list[AgentEvent] = []
        self.dropped = 0
        self.answer = ""
        self.failure = ""
        self.final = False
        self.session = ""
        self.usage = Usage()
        self._space_left = KEPT_TEXT
        self._pending: dict[type[Text | Thinking], io.StringIO] = {}

    def add(self, event: AgentEvent) -> None:
        """Add the next event."""
        if isinstance(event, Text | Thinking):
            if event.partial:
                self._add_piece(event)
                return
            self._pending.pop(type(event), None)
        self._note(event)
        self._keep(event)

    def finish(self) -> list[AgentEvent]:
        """Add texts of which only pieces came, and return them."""
        left: list[AgentEvent] = [kind(pieces.getvalue()) for kind, pieces in self._pending.items()]
        for event in left:
            self.add(event)
        return left

    def _add_piece(self, event: Text | Thinking) -> None:
        pieces = self._pending.setdefault(type(event), io.StringIO())
        if pieces.tell() < MAX_LINE:
            pieces.write(event.text)

    def _note(self, event: AgentEvent) -> None:
        if isinstance(event, Started) and is_session(event.session):
            self.session = event.session
        elif isinstance(event, Usage):
            self.usage = event
        elif isinstance(event, Failure) and not event.retrying:
            self.failure = event.message or "it failed without a message"
        elif isinstance(event, Final) or (isinstance(event, Text) and event.text.strip() and not event.parent):
            self.answer = event.text or self.answer
            self.final = isinstance(event, Final)

    def _keep(self, event: AgentEvent) -> None:
        size = _OVERHEAD + len(dumped(event.as_dict()))
        if size > self._space_left or len(self.events) >= KEPT_EVENTS:
            self.dropped += 1
            return
        self._space_left -= size
        self.events.append(event)
