"""What a bottle asks for, what the human says, and what came of it."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, Self, get_args

Verdict = Literal["approved", "denied", "withdrawn", "expired"]
State = Literal["pending", "approved", "denied", "withdrawn", "expired"]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)


def canonical(value: object) -> bytes:
    """Return JSON of which there is one for one value.

    Raises:
        ValueError: *value* is no plain JSON.
        TypeError: so, too.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


@dataclass(frozen=True, repr=False)
class Proposal:
    """Something that a bottle asks for; it never changes.

    Attributes:
        id: number, unique for the user; what a person types.
        slug: the bottle's.
        bottle: what the user calls the bottle.
        kind: name of a module in `bb_jupyter.approvals.kinds`, such as ``egress``.
        created: seconds since the epoch.
        expires: when it is denied by itself, seconds since the epoch; ``None`` for never.
        fold: pending proposals of one kind and fold key are one request.
        content: what exactly; plain JSON, by kind (`Kind.content` there), its texts hostile.
        token: SHA-256 over all of that, in hexadecimal.
    """

    id: int
    slug: str
    bottle: str
    kind: str
    created: float
    expires: float | None
    fold: str
    content: Mapping[str, Any]
    token: str = ""

    def __repr__(self) -> str:
        return f"<request {self.id}: {self.kind} of {self.bottle!r}; `%bottle approvals {self.id}` shows it>"

    def sealed(self) -> Self:
        """Return it with its token."""
        return type(self)(**{**vars(self), "token": self._hash()})

    def _hash(self) -> str:
        said = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "token"}
        return hashlib.sha256(canonical(said)).hexdigest()

    def matches(self, token: str) -> bool:
        """Return whether a token is that of exactly this proposal."""
        return hmac.compare_digest(self.token.encode(), token.encode("utf-8", "replace"))

    @property
    def overdue(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and time.time() >= self.expires

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self | None:
        """Return the proposal that `to_json` wrote; ``None`` if it does not check."""
        proposal = _built(cls, data)
        if proposal is None or not isinstance(proposal.content, dict):
            return None
        numbers = (proposal.created, 0 if proposal.expires is None else proposal.expires)
        texts = (proposal.slug, proposal.bottle, proposal.kind, proposal.fold, proposal.token)
        fits = type(proposal.id) is int and _all(numbers, int, float) and _all(texts, str)
        return proposal if fits and proposal.matches(proposal._hash()) else None


@dataclass(frozen=True)
class Decision:
    """What became of a proposal, said once in a round.

    Attributes:
        id: the proposal's.
        token: of what was decided.
        verdict: ``approved`` or ``denied`` by the human; ``withdrawn`` by the bottle's side; ``expired``.
        round: 1, or one more for each approval whose effect failed and that left the proposal held.
        why: the human's words; the agent reads them.
        answer: what else the human said, by kind: `text` for a question, `refs` for a push of which only some go.
        time: seconds since the epoch.
    """

    id: int
    token: str
    verdict: Verdict
    round: int = 1
    why: str = ""
    answer: Mapping[str, Any] = field(default_factory=dict)
    time: float = 0.0

    @classmethod
    def from_json(cls, data: Mapping[str, Any], proposal: Proposal, round_: int) -> Self | None:
        """Return the decision on *proposal* in a round; ``None`` if it does not check."""
        decision = _built(cls, data)
        if decision is None or (decision.id, decision.round) != (proposal.id, round_):
            return None
        texts = (decision.token, decision.why, decision.verdict)
        fits = _all(texts, str) and _all((decision.time,), int, float) and isinstance(decision.answer, dict)
        return decision if fits and decision.verdict in VERDICTS and proposal.matches(decision.token) else None


@dataclass(frozen=True)
class Outcome:
    """What came of an approval.

    Attributes:
        id: the proposal's.
        round: of the decision.
        ok: it is done.
        text: what was done, or why not, in a line.
        held: it was not done, and the proposal waits for a new decision.
        detail: more, plain JSON, by kind: `generation` of the policy for ``egress``, `path` for ``copy-out``.
        time: seconds since the epoch.
    """

    id: int
    round: int
    ok: bool
    text: str = ""
    held: bool = False
    detail: Mapping[str, Any] = field(default_factory=dict)
    time: float = 0.0

    @classmethod
    def from_json(cls, data: Mapping[str, Any], proposal: Proposal, round_: int) -> Self | None:
        """Return the outcome in a round; ``None`` if it does not check."""
        outcome = _built(cls, data)
        if outcome is None or (outcome.id, outcome.round) != (proposal.id, round_):
            return None
        fits = (
            _all((outcome.ok, outcome.held), bool) and _all((outcome.text,), str) and isinstance(outcome.detail, dict)
        )
        return outcome if fits else None


@dataclass(frozen=True)
class Status:
    """Where a proposal stands.

    Attributes:
        state: ``pending`` or the verdict.
        round: the one that counts.
        decision: of that round, or of the one before when it is pending again.
        outcome: so, too.
    """

    state: State
    round: int = 1
    decision: Decision | None = None
    outcome: Outcome | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more will come of it; an approval is settled when its outcome is known."""
        return self.state not in ("pending", "approved") or (self.state == "approved" and self.outcome is not None)


def _built(cls: type[Any], data: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- any of the three
    names = {item.name for item in fields(cls)}
    return cls(**data) if data.keys() == names else None


def _all(values: tuple[object, ...], *kinds: type) -> bool:
    return all(isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)) for value in values)
