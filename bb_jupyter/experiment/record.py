"""The record of one run: its outcome, its files, and how it differs from another run."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bb_jupyter.agent.events import AgentEvent, from_line

#: Colours of states that most people can tell apart (M. Okabe and K. Ito, "Color Universal Design", 2008).
STATE_COLOURS = {
    "waiting": "#ffffff",
    "running": "#56b4e9",
    "passed": "#009e73",
    "failed": "#d55e00",
    "stopped": "#999999",
}


@dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    Attributes:
        passed: whether the run did its task.
        score: how well, on a scale of the check's own; `None` for no score.
        detail: the check's output, or why it failed; text from a bottle is hostile.
    """

    passed: bool
    score: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        state: `passed`, `failed` or `stopped`.
        counted: whether it is a result; `resume` repeats a run that was interrupted or that its host failed.
        reason: why it did not pass; empty when it did.
        score: the check's score.
        answer: the agent's answer; hostile text.
        changed: how many files of the workspace are new, changed or deleted; `None` when unknown.
        seconds: by part: `launch`, `agent`, `check`, `record`, `total`.
        usage: `input_tokens`, `output_tokens`, `cached_tokens`, `turns`, and `cost` in US dollars (or `None`).
        egress: `requests`, `denied`, `up` and `down` in bytes, and `approvals`: number of questions to the human.
        facts: where it ran: `worker`, `bottle` (its slug), `backend`, `root`, `image`, `manifest` (a hash),
            `versions`.
    """

    state: str
    counted: bool
    reason: str = ""
    score: float | None = None
    answer: str = ""
    changed: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    usage: Mapping[str, float | None] = field(default_factory=dict)
    egress: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunOutcome:
        """Read an outcome of this or another version; unknown fields are left out."""
        known = {each.name for each in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in known})

    @classmethod
    def lost(cls, reason: str) -> RunOutcome:
        """Return the outcome of a run without a result; the run will be repeated."""
        return cls("stopped", counted=False, reason=reason)


@dataclass(frozen=True)
class RunRecord:
    """One run.  Text from its bottle (`answer`, `events`, `diff`, `check_output`) is hostile.

    Attributes:
        id: the run's name in the experiment.
        position: place in the order of execution, from 0 on.
        agent: label of the agent.
        prompt: label of the prompt.
        bottle: name of the bottle's manifest.
        parameters: variable → value.
        repeat: from 1 on.
        seed: value of `$BB_SEED` in the run.
        state: `waiting`, `running`, `passed`, `failed` or `stopped`.
        counted: whether it is a result.
        attempts: how often it was begun; more than 1 when a worker was lost.
        rerun_of: id of the run that it repeats; empty for a run of the grid.
        started: when, in UTC; `None` before.
        finished: when, in UTC; `None` before.
        folder: folder with the run's files.
        outcome: how it ended; `None` before.
    """

    id: str
    position: int
    agent: str
    prompt: str
    bottle: str
    parameters: Mapping[str, str]
    repeat: int
    seed: int
    state: str
    counted: bool
    attempts: int
    rerun_of: str
    started: datetime | None
    finished: datetime | None
    folder: Path = field(repr=False)
    outcome: RunOutcome | None = field(repr=False)

    @classmethod
    def of(cls, row: Mapping[str, Any], folder: Path) -> RunRecord:
        """Make a record from a row of the index.

        Args:
            row: a row of `Store.rows`.
            folder: folder with the run's files.
        """
        given = {key: row[key] for key in ("id", "position", "agent", "prompt", "bottle", "repeat", "seed", "state")}
        return cls(
            **given,
            parameters=json.loads(row["parameters"]),
            counted=bool(row["counted"]),
            attempts=row["attempts"],
            rerun_of=row["rerun_of"],
            started=_time(row["started"]),
            finished=_time(row["finished"]),
            folder=folder,
            outcome=RunOutcome.from_dict(json.loads(row["outcome"])) if row["outcome"] else None,
        )

    @property
    def passed(self) -> bool:
        """Whether it did its task."""
        return self.state == "passed"

    @property
    def reason(self) -> str:
        """Why it did not pass; empty when it did, or has not ended."""
        return self.outcome.reason if self.outcome else ""

    @property
    def answer(self) -> str:
        """The agent's answer."""
        return self.outcome.answer if self.outcome else ""

    @property
    def seconds(self) -> float | None:
        """Duration of the run; `None` when unknown."""
        return self.outcome.seconds.get("total") if self.outcome else None

    @property
    def cost(self) -> float | None:
        """US dollars; `None` when its agent does not report them."""
        return self.outcome.usage.get("cost") if self.outcome else None

    @property
    def tokens(self) -> int:
        """Input and output tokens."""
        used = self.outcome.usage if self.outcome else {}
        return int((used.get("input_tokens") or 0) + (used.get("output_tokens") or 0))

    @property
    def diff(self) -> str:
        """The agent's changes to the workspace, as a unified diff."""
        return self._text("workspace.diff")

    @property
    def check_output(self) -> str:
        """The check's output."""
        return self._text("check.txt")

    @property
    def events(self) -> tuple[AgentEvent, ...]:
        """The agent's events; while the run goes on, those so far."""
        return tuple(self._events())

    def latest(self, most: int = 64 << 10) -> tuple[AgentEvent, ...]:
        """Return the last events: those in the last *most* bytes of their file."""
        try:
            with (self.folder / "events.jsonl").open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - most))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ()
        return tuple(event for line in lines[size > most :] for event in from_line(line))

    @property
    def egress(self) -> tuple[Mapping[str, Any], ...]:
        """Requests of the run's bottles to their gateways, and the human's decisions: rows as in `bb_jupyter.audit`."""
        return tuple(json.loads(line) for line in self._text("egress.jsonl").splitlines())

    def row(self) -> dict[str, Any]:
        """Return the run as one flat row of a table."""
        found = self.outcome or RunOutcome("", counted=False)
        used, net, took = found.usage, found.egress, found.seconds
        return {
            "run": self.id,
            "agent": self.agent,
            "prompt": self.prompt,
            "bottle": self.bottle,
            **{f"param_{name}": value for name, value in self.parameters.items()},
            "repeat": self.repeat,
            "seed": self.seed,
            "position": self.position,
            "state": self.state,
            "passed": self.passed if self.counted else None,
            "score": found.score,
            "reason": found.reason,
            "seconds": took.get("total"),
            **{f"{part}_seconds": took.get(part) for part in ("launch", "agent", "check", "record")},
            **{key: used.get(key) for key in ("input_tokens", "output_tokens", "cached_tokens", "turns", "cost")},
            **{key: net.get(key) for key in ("requests", "denied", "approvals")},
            "egress_up": net.get("up"),
            "egress_down": net.get("down"),
            "changed": found.changed,
            "attempts": self.attempts,
            "rerun_of": self.rerun_of,
            "started": self.started,
            "finished": self.finished,
            **{key: found.facts.get(key) for key in ("backend", "image", "manifest", "worker")},
        }

    def _events(self) -> Iterator[AgentEvent]:
        for line in self._text("events.jsonl").splitlines():
            yield from from_line(line)

    def _text(self, name: str) -> str:
        try:
            return (self.folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""


@dataclass(frozen=True)
class RunDiff:
    """How two runs differ.

    Attributes:
        facts: inputs and results that differ: name → (of the first, of the second).
        workspace: how their changes to the workspace differ: a diff of their diffs.
    """

    facts: Mapping[str, tuple[Any, Any]]
    workspace: str

    def __str__(self) -> str:
        width = max(map(len, self.facts), default=0)
        lines = [f"{name:<{width}}  {one} → {two}" for name, (one, two) in self.facts.items()]
        return "\n".join([*lines, *(["", self.workspace] if self.workspace else [])]) or "no difference"


#: Most lines of a diff that are compared, because `difflib` takes quadratic time.
_MOST_LINES = 4000
#: Fields that differ between any two runs, and so are not compared.
_OWN = {"run", "position", "started", "finished", "attempts", "rerun_of", "worker"}


def diff(one: RunRecord, two: RunRecord) -> RunDiff:
    """Compare two runs: their inputs, results, and changes to the workspace."""
    rows = one.row(), two.row()
    names = [name for name in {**rows[0], **rows[1]} if name not in _OWN]
    facts = {name: (rows[0].get(name), rows[1].get(name)) for name in names if rows[0].get(name) != rows[1].get(name)}
    first, second = ([line for line in run.diff.splitlines() if not line.startswith("@@")] for run in (one, two))
    if max(len(first), len(second)) > _MOST_LINES:
        return RunDiff(facts, "too many lines to compare")
    lines = difflib.unified_diff(first, second, f"run {one.id}", f"run {two.id}", lineterm="", n=1)
    return RunDiff(facts, "\n".join(lines))


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
