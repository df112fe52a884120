"""How a run ended, and what it used: plain values that travel from where it ran to the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

#: Colours of states that most people can tell apart (M. Okabe and K. Ito, "Color Universal Design", 2008).
COLOURS = {
    "waiting": "#ffffff",
    "running": "#56b4e9",
    "passed": "#009e73",
    "failed": "#d55e00",
    "stopped": "#999999",
}


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Attributes:
        passed: whether the run did its task.
        score: how well, in numbers of the check's own; `None` when it gives none.
        detail: what the check printed, or why it failed; text from a bottle is hostile.
    """

    passed: bool
    score: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        state: `passed`, `failed` or `stopped`.
        counted: it is a result; a run that was interrupted, or that its host failed, is not, and `resume` repeats it.
        reason: why it did not pass; empty when it did.
        score: of the check.
        answer: the agent's last word; hostile text.
        changed: how many files of the workspace are new, changed or gone; `None` when unknown.
        seconds: by part: `launch`, `agent`, `check`, `record`, `total`.
        usage: `input_tokens`, `output_tokens`, `cached_tokens`, `turns`, and `cost` in US dollars (or `None`).
        egress: `requests`, `denied`, `up` and `down` in bytes, and `approvals`: how often its human was asked.
        facts: where it ran and on what: `worker`, `bottle` (its slug), `backend`, `root`, `image`, `manifest` (a hash),
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
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        """Read one of this or an older version; what is unknown is left out."""
        known = {each.name for each in fields(cls)}
        return cls(**{key: value for key, value in data.items() if key in known})

    @classmethod
    def lost(cls, reason: str) -> Outcome:
        """Return the outcome of a run that is no result: it will be repeated."""
        return cls("stopped", counted=False, reason=reason)
