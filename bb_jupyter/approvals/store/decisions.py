"""Saying yes or no, once: whoever writes the decision's file first has decided."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from bb_jupyter.approvals.store.proposal import Decision, Proposal, Verdict
from bb_jupyter.approvals.store.queries import decision_file, get, status_of
from bb_jupyter.approvals.store.storage import Folder
from bb_jupyter.errors import AlreadyDecided, TokenMismatch, UsageError

#: Most characters of the human's words.
_LONGEST = 20_000


def decide(
    id_: int, *, token: str, verdict: Verdict, why: str = "", answer: Mapping[str, Any] | None = None
) -> Decision:
    """Decide a proposal.  Its effect is seen to elsewhere; see `bb_jupyter.broker.effects`.

    Args:
        id_: its number.
        token: of what was shown to the human.
        verdict: ``approved`` or ``denied``.
        why: words for the agent.
        answer: what else is said, plain JSON; see `Decision`.

    Raises:
        UnknownProposal: there is none of that number.
        TokenMismatch: this is not what was shown.
        AlreadyDecided: somebody was quicker, or its time is over.
        UsageError: the verdict is none, or the words are too long.
    """
    if verdict not in ("approved", "denied"):
        raise UsageError("a request is approved or denied")
    if len(why) > _LONGEST or len(str(answer or "")) > _LONGEST:
        raise UsageError(f"these are too many words: at most {_LONGEST} characters")
    proposal = get(id_)
    if not proposal.matches(token):
        raise TokenMismatch(f"request {id_} is not what you were shown", hint="Look at it again, then decide.")
    if proposal.overdue:
        expire(proposal)
    return _write(proposal, verdict, why, answer or {})


def expire(proposal: Proposal) -> Decision:
    """Say that nobody decided in time, unless somebody has.

    Returns:
        What was decided.
    """
    return _unless_decided(proposal, "expired", "nobody answered in time")


def withdraw(proposal: Proposal, why: str) -> Decision:
    """Take a proposal back on the bottle's side, unless it is decided.

    Returns:
        What was decided.
    """
    return _unless_decided(proposal, "withdrawn", why)


def _unless_decided(proposal: Proposal, verdict: Verdict, why: str) -> Decision:
    try:
        return _write(proposal, verdict, why, {})
    except AlreadyDecided:
        return status_of(proposal).decision or Decision(proposal.id, proposal.token, "denied", why="it cannot be read")
    except FileNotFoundError:
        return Decision(proposal.id, proposal.token, "withdrawn", why="the bottle is gone")


def _write(proposal: Proposal, verdict: Verdict, why: str, answer: Mapping[str, Any]) -> Decision:
    status = status_of(proposal)
    undecided = status.state == "pending" or (status.state == "expired" and status.decision is None)
    if not undecided:
        raise _already(proposal, status.state)
    decision = Decision(proposal.id, proposal.token, verdict, status.round, why, answer, round(time.time(), 3))
    try:
        Folder(proposal.slug).write(decision_file(proposal.id, status.round), asdict(decision))
    except FileExistsError:
        raise _already(proposal, status_of(proposal).state) from None
    return decision


def _already(proposal: Proposal, state: str) -> AlreadyDecided:
    hint = "Nothing was done; the agent may ask again." if state == "expired" else "A decision stands as it is."
    return AlreadyDecided(f"request {proposal.id} is {state} already", hint=hint)
