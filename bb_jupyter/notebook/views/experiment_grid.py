"""The runs of an experiment as a grid: a line for each agent, a column for each prompt, a mark for each run."""

from __future__ import annotations

import html
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anywidget
from traitlets import Dict, List, Unicode

from bb_jupyter.agent.events import AgentEvent, Failure, Final, Other, Text, Thinking, ToolCall, ToolResult
from bb_jupyter.experiment.record import STATE_COLOURS, RunRecord
from bb_jupyter.experiment.schedule import ExperimentProgress
from bb_jupyter.manifest import format_duration
from bb_jupyter.notebook.views.page_script import page_script, style_sheet
from bb_jupyter.text.table import Markup, html_table, text_table
from bb_jupyter.text.visible import block, one_line

#: Mark of each state in text.
MARKS = {"waiting": "·", "running": "▸", "passed": "✓", "failed": "✗", "stopped": "■"}
#: Most runs for which each has a mark; with more, cells hold counts.
MOST = 3000
#: Most characters of transcripts in a saved notebook: of one run, and of all.
_ONE, _ALL = 4000, 400_000
#: Least bytes of a run's events to read for a transcript.
_LEAST = 4 << 10
#: Lines of one tool's result in a transcript.
_LINES = 10


@dataclass(frozen=True)
class Layout:
    """The place of each run in the grid.

    Attributes:
        columns: prompts.
        lines: agent, and what else varies → for each column the ids of its runs.
    """

    columns: tuple[str, ...]
    lines: Mapping[str, Sequence[Sequence[str]]]

    @classmethod
    def of(cls, runs: Sequence[RunRecord]) -> Layout:
        """Return the layout of *runs*."""
        columns = tuple(dict.fromkeys(run.prompt for run in runs))
        several = len({run.bottle for run in runs}) > 1
        lines: dict[str, list[list[str]]] = {}
        for run in runs:
            cells = lines.setdefault(_label(run, several=several), [[] for _ in columns])
            cells[columns.index(run.prompt)].append(run.id)
        return cls(columns, lines)

    def text(self, states: Mapping[str, str]) -> str:
        """Return the grid as text."""
        rows = [[label, *(_marks(cell, states) for cell in cells)] for label, cells in self.lines.items()]
        return text_table(rows, ["", *self.columns])

    def html(self, states: Mapping[str, str], transcripts: Mapping[str, str] | None = None) -> str:
        """Return the grid as HTML; a click on a mark unfolds the transcript of its run.

        Args:
            states: state of each run.
            transcripts: text from bottles, by run; this function escapes it.
        """
        rows = [
            [label, *(Markup(_html_marks(cell, states, transcripts or {})) for cell in cells)]
            for label, cells in self.lines.items()
        ]
        return html_table(rows, ["", *self.columns], labels=True)


class GridWidget(anywidget.AnyWidget):
    """Widget with the grid, while runs are running.

    Args:
        layout: the place of each run.
        ids: of all runs, in the order of `states`.
    """

    _esm = page_script("grid.js")
    _css = style_sheet("grid.css")
    key = Unicode().tag(sync=True)
    columns = List(Unicode()).tag(sync=True)
    lines: List[Any] = List().tag(sync=True)
    ids = List(Unicode()).tag(sync=True)
    states = Unicode().tag(sync=True)
    note = Unicode().tag(sync=True)
    news: Dict[str, Any] = Dict().tag(sync=True)

    def __init__(self, layout: Layout, ids: Sequence[str]) -> None:
        lines = [{"label": label, "cells": cells} for label, cells in layout.lines.items()]
        super().__init__(key=uuid.uuid4().hex, columns=[*layout.columns], lines=lines, ids=[*ids])

    def __repr__(self) -> str:
        return "GridWidget()"


def note(progress: ExperimentProgress) -> str:
    """Return the progress of an experiment, in one line."""
    done = progress.count("passed", "failed", "stopped")
    parts = [f"{done} of {len(progress.states)} runs done"]
    if running := progress.count("running"):
        parts.append(f"{running} running")
    if progress.stopping:
        parts.append(f"ending: {progress.stopping}")
    elif progress.left:
        parts.append(f"about {format_duration(max(1, round(progress.left)))} left")
    return ", ".join(parts)


def counts(states: Mapping[str, str]) -> str:
    """Return the number of runs in each state, in one line."""
    found = {state: sum(other == state for other in states.values()) for state in MARKS}
    return f"{len(states)} runs: " + ", ".join(f"{count} {state}" for state, count in found.items() if count)


def transcripts(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Return the transcript of each run that has ended, for a saved notebook; of a long one the end."""
    width = min(_ONE, _ALL // max(1, len(runs)))
    return {run.id: _transcript(run, width) for run in runs if run.state not in ("waiting", "running")}


def line_of(event: AgentEvent, width: int = _ONE) -> str:
    """Return an event as plain lines, made visible; of a long text the first *width* characters."""
    if isinstance(event, Text | Final):
        return block(event.text[:width])
    if isinstance(event, Thinking):
        return f"… {block(event.text[:width])}"
    if isinstance(event, ToolCall):
        return f"▸ {one_line(event.name)}: {one_line(event.summary)}"
    if isinstance(event, ToolResult):
        lines = event.output[:width].splitlines()
        more = [f"  … {len(lines) - _LINES} more lines"] if len(lines) > _LINES else []
        return "\n".join([f"  {one_line(line)}" for line in lines[:_LINES]] + more)
    if isinstance(event, Failure):
        return f"✗ {one_line(event.message)}"
    return f"? {one_line(event.name)}" if isinstance(event, Other) else ""


def _transcript(run: RunRecord, width: int) -> str:
    about = f"run {run.id}: {run.state}" + (f", {one_line(run.reason)}" if run.reason else "")
    check = run.check_output.strip()[-width:]
    last = [f"— check —\n{block(check)}"] if check else []
    lines: list[str] = []
    events = run.latest(max(_LEAST, 4 * width))
    answers = {event.text for event in events if isinstance(event, Text)}
    for event in reversed(events):
        if sum(map(len, lines)) > width:
            lines.append("…")
            break
        if not (isinstance(event, Final) and event.text in answers) and (line := line_of(event, width)):
            lines.append(line)
    return "\n".join([about, *reversed(lines), *last])


def _label(run: RunRecord, *, several: bool) -> str:
    parts = [run.agent, *([run.bottle or "no manifest"] if several else [])]
    return " ".join([*parts, *(f"{name}={value}" for name, value in run.parameters.items())])


def _marks(cell: Sequence[str], states: Mapping[str, str]) -> str:
    if len(states) <= MOST:
        return "".join(MARKS[states[run]] for run in cell)
    found = [states[run] for run in cell]
    return " ".join(f"{found.count(state)}{mark}" for state, mark in MARKS.items() if state in found)


def _html_marks(cell: Sequence[str], states: Mapping[str, str], texts: Mapping[str, str]) -> str:
    if len(states) > MOST:
        return html.escape(_marks(cell, states))
    return "".join(_html_mark(run, states[run], texts.get(run, "")) for run in cell)


def _html_mark(run: str, state: str, text: str) -> str:
    style = f"color:{STATE_COLOURS[state]};cursor:pointer;display:inline;list-style:none"
    mark = f'<span style="{style}" title="run {run}: {state}">{MARKS[state]}</span>'
    if not text:
        return mark
    shown = f'<pre style="max-width:60em;white-space:pre-wrap;text-align:left">{html.escape(text)}</pre>'
    return f'<details style="display:inline-block"><summary style="list-style:none">{mark}</summary>{shown}</details>'
