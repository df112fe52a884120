"""An agent's run in a cell: a live list of its steps, folded at the end, and its answer below."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from bb_jupyter.agent.events import AgentEvent, Failure, Final, Other, Text, Thinking, ToolCall, ToolResult, Usage
from bb_jupyter.core.agent_run import AgentResult, AgentRun
from bb_jupyter.manifest import format_duration
from bb_jupyter.notebook import kernel
from bb_jupyter.notebook.views.display import publish, say
from bb_jupyter.process import deferred_interrupts
from bb_jupyter.text.table import escaped
from bb_jupyter.text.visible import block, one_line

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

#: Seconds between two updates of the live display.
INTERVAL = 0.2
#: Most characters of a run in the live display, and in a saved notebook.
LIVE, SAVED = 16 << 10, 128 << 10
#: Most characters of one tool's result, and most lines of it in plain output.
_RESULT, _LINES = 4000, 10
#: Most changed files to name.
_FILES = 10


class View(Protocol):
    """A place where a run is shown."""

    def add(self, event: AgentEvent) -> None:
        """Add the next event."""

    def tick(self) -> None:
        """Show the events that are due."""

    def patience(self) -> float | None:
        """Return the seconds until something has to be shown; `None` until the next event."""

    def finish(self, result: AgentResult | None) -> None:
        """Show the end of the run; `None` if it has no result."""


class RequestView(Protocol):
    """Shows the requests of a bottle while a run is running."""

    expected: bool

    def look(self) -> None:
        """Show new requests and decisions."""

    def finish(self) -> None:
        """Show the decisions of all requests."""


def show(name: str, run: AgentRun, requests: RequestView | None = None) -> AgentResult:
    """Show a run until it ends.

    An interrupt ends the agent and nothing else; the result is then `interrupted`.

    Args:
        name: name of the bottle.
        run: the run.
        requests: shows the requests of the bottle meanwhile.

    Raises:
        BottleGone: the bottle died or was stopped; the steps so far are shown.
    """
    view: View = _RichView(name) if kernel.is_rich() else _PlainView(name)
    try:
        try:
            _follow(run, view, requests)
        except KeyboardInterrupt:
            with deferred_interrupts.defer_sigint(same=True):
                run.kill()
                _follow(run, view, requests)
    finally:
        with deferred_interrupts.defer_sigint():
            if requests is not None:
                requests.finish()
            view.finish(None if run.running else run.result)
    return run.result


def summary(result: AgentResult) -> str:
    """Return a run in one line: duration, turns, tokens, cost, changed files."""
    usage = result.usage
    how = "done" if result.ok else "interrupted" if result.interrupted else "failed"
    facts = [f"{how} in {_seconds(result.duration)}"]
    facts += [f"{usage.turns} turn{'s' if usage.turns > 1 else ''}"] if usage.turns else []
    if usage.input_tokens or usage.output_tokens:
        cached = f" ({usage.cached_tokens:,} cached)" if usage.cached_tokens else ""
        facts.append(f"{usage.input_tokens:,} tokens in{cached}, {usage.output_tokens:,} out")
    facts += [f"${usage.cost:.4f}"] if usage.cost is not None else []
    facts += [_files(result.changed)] if result.changed else []
    return " · ".join(facts)


def _files(names: tuple[str, ...]) -> str:
    shown = ", ".join(one_line(name) for name in names[:_FILES])
    more = f" and {len(names) - _FILES} more" if len(names) > _FILES else ""
    return f"changed {shown}{more}"


def _seconds(duration: float) -> str:
    return f"{duration:.1f} s" if duration < 60 else format_duration(round(duration))


def _follow(run: AgentRun, view: View, requests: RequestView | None) -> None:
    while run.running:
        patience = view.patience()
        if requests is not None and requests.expected:
            patience = INTERVAL if patience is None else min(patience, INTERVAL)
        for event in run.poll(patience):
            view.add(event)
        view.tick()
        if requests is not None:
            requests.look()


class _PlainView:
    """Print the run: for terminals, nbval and papermill."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._answer = ""

    def add(self, event: AgentEvent) -> None:
        if isinstance(event, Text) and not event.partial:
            self._answer = event.text
            say(event.text)
        elif isinstance(event, Final) and event.text != self._answer:
            say(event.text)
        elif line := _line_of(event):
            say(line)

    def tick(self) -> None:
        """Do nothing: every event has been printed."""

    def patience(self) -> float | None:
        return None

    def finish(self, result: AgentResult | None) -> None:
        if result is not None:
            say(f"{self._name}: {summary(result)}")


def _line_of(event: AgentEvent) -> str:
    """Return an event as plain lines, made visible; empty for text of the agent and for events that are not shown."""
    if isinstance(event, Thinking) and not event.partial:
        return f"… {one_line(event.text)}"
    if isinstance(event, ToolCall):
        return f"▸ {one_line(event.name)}: {one_line(event.summary)}"
    if isinstance(event, ToolResult):
        lines = event.output.splitlines()
        shown = [f"  {line}" for line in lines[:_LINES]] + (
            [f"  … {len(lines) - _LINES} more"] if lines[_LINES:] else []
        )
        return "\n".join(["  failed", *shown] if event.error else shown)
    if isinstance(event, Failure):
        return f"{'!' if event.retrying else '✗'} {one_line(event.message)}"
    return f"? {one_line(event.name)} {one_line(event.text)}" if isinstance(event, Other) else ""


class _RichView:
    """Show one display, which is replaced during the run and folded at its end, with the answer below."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._due = float("-inf")
        self._dirty = True
        self._display: DisplayHandle | None = None
        self._items: list[_Item] = []
        self._calls: dict[str, _Item] = {}
        self._streaming: _Item | None = None

    def add(self, event: AgentEvent) -> None:
        self._dirty = True
        if isinstance(event, Text | Thinking):
            self._say(event)
        elif isinstance(event, ToolResult) and event.id in self._calls:
            self._calls.pop(event.id).result = event
        elif not isinstance(event, Final | Usage) and (isinstance(event, ToolCall) or _line_of(event)):
            item = _Item(event)
            self._items.append(item)
            if isinstance(event, ToolCall):
                self._calls[event.id] = item

    def tick(self) -> None:
        now = self._clock()
        if self._dirty and now >= self._due:
            self._due, self._dirty = now + INTERVAL, False
            self._show(f"<b>{escaped(self._name)}</b> is at work{self._list(LIVE)}", f"{self._name} is at work")

    def patience(self) -> float | None:
        return max(0.0, self._due - self._clock()) if self._dirty else None

    def finish(self, result: AgentResult | None) -> None:
        how = summary(result) if result else "the bottle is gone"
        head = f"<summary><b>{escaped(self._name)}</b> {escaped(how)}</summary>"
        text = "\n".join([*(item.text for item in self._kept(SAVED)), f"{self._name}: {how}"])
        opened = "" if result and result.ok else " open"
        self._show(f"<details{opened}>{head}{self._list(SAVED)}</details>", text)
        if result and result.answer:
            from bb_jupyter.notebook.views.markdown import markdown

            publish(block(result.answer), markdown(result.answer))

    def _say(self, event: Text | Thinking) -> None:
        """Join partial texts in one item; the whole text replaces them."""
        item = self._streaming
        if item is None or type(item.event) is not type(event):
            item = _Item(type(event)(parent=event.parent))
            self._items.append(item)
        before = item.event.text if event.partial and isinstance(item.event, Text | Thinking) else ""
        if len(before) < SAVED:
            item.event = type(event)(before + event.text, parent=event.parent)
        self._streaming = item if event.partial else None

    def _kept(self, budget: int) -> list[_Item]:
        """Return the latest items that fit in *budget* characters; one line stands for the earlier ones."""
        kept: list[_Item] = []
        for item in reversed(self._items):
            budget -= len(item.html)
            if budget < 0 and kept:
                left = len(self._items) - len(kept)
                return [_Item(Other("", f"{left} earlier steps are in the log")), *reversed(kept)]
            kept.append(item)
        return kept[::-1]

    def _list(self, budget: int) -> str:
        return "".join(item.html for item in self._kept(budget))

    def _show(self, markup: str, text: str) -> None:
        self._display = publish(text, f"<div>{markup}</div>", self._display)


class _Item:
    """One item of a transcript; a tool call includes its result."""

    def __init__(self, event: AgentEvent) -> None:
        self.event = event
        self.result: ToolResult | None = None

    @property
    def text(self) -> str:
        """The item as plain text."""
        if isinstance(self.event, Text):
            return _cut(self.event.text)
        result = f"\n{_cut(_line_of(self.result))}" if self.result else ""
        return _cut(_line_of(self.event)) + result

    @property
    def html(self) -> str:
        """The item as HTML; all data in it is escaped."""
        return f'<div style="margin-left:2em">{self._html()}</div>' if self.event.parent else self._html()

    def _html(self) -> str:
        event = self.event
        if isinstance(event, Text):
            return f'<div style="white-space:pre-wrap">{_shown(event.text)}</div>'
        if isinstance(event, Thinking):
            return f"<details><summary><i>thinking</i></summary><pre>{_shown(event.text)}</pre></details>"
        if isinstance(event, ToolCall):
            return self._call(event)
        return f"<div><small>{escaped(_line_of(event))}</small></div>"

    def _call(self, event: ToolCall) -> str:
        mark = "…" if self.result is None else "✗" if self.result.error else "✓"
        head = f"{mark} <b>{escaped(event.name)}</b> <code>{escaped(event.summary)}</code>"
        output = _shown(self.result.output) if self.result else ""
        return f"<details><summary>{head}</summary><pre>{output}</pre></details>"


def _cut(text: str) -> str:
    """Return *text* made visible; of a long text the beginning and the end."""
    if len(text) > _RESULT:
        half = _RESULT // 2
        text = f"{text[:half]}\n… {len(text) - _RESULT} characters …\n{text[-half:]}"
    return block(text)


def _shown(text: str) -> str:
    return html.escape(_cut(text))
