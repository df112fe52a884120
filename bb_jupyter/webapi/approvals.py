"""What bottles ask of their human, as JSON, and the human's answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bb_jupyter import approvals
from bb_jupyter.approvals import Proposal, Status
from bb_jupyter.errors import UsageError

_REF = re.compile(r"refs/[\x21-\x7e]{1,250}")


def pending() -> Mapping[str, Any]:
    """Return all that waits for a decision, with its exact content, oldest first."""
    waiting = [(proposal, status) for proposal, status in approvals.all_proposals() if status.state == "pending"]
    return {"approvals": [_row(proposal, status) for proposal, status in waiting]}


def one(id_: int) -> Mapping[str, Any]:
    """Return one proposal, decided or not.

    Raises:
        UnknownProposal: there is none of that number.
    """
    return _row(approvals.get(id_), approvals.status(id_))


def decide(id_: int, *, verdict: str, token: str, why: str, answer: str, refs: object) -> Mapping[str, Any]:
    """Approve or deny what was shown.

    Args:
        id_: the proposal's number.
        verdict: `approved` or `denied`.
        token: of what was shown.
        why: words for the agent.
        answer: to a question.
        refs: of a push: the names of those to release; `None` for all.

    Raises:
        UsageError: an argument is wrong.
        UnknownProposal: there is none of that number.
        TokenMismatch: something else was shown.
        AlreadyDecided: somebody was quicker.
    """
    from bb_jupyter.broker.effects import approve, deny

    if not re.fullmatch(r"[0-9a-f]{64}", token):
        raise UsageError("token: the request's is wanted")
    if verdict == "approved":
        approve(id_, why=why, refs=_refs(refs), answer=answer or None, token=token)
    elif verdict == "denied":
        deny(id_, why=why, token=token)
    else:
        raise UsageError("verdict: approved or denied")
    return one(id_)


def _refs(refs: object) -> list[str] | None:
    if refs is None:
        return None
    if not isinstance(refs, list) or not all(isinstance(ref, str) and _REF.fullmatch(ref) for ref in refs):
        raise UsageError("refs: a list of full names of refs is wanted")
    return refs


def _row(proposal: Proposal, status: Status) -> Mapping[str, Any]:
    decision, outcome = status.decision, status.outcome
    return {
        "id": proposal.id,
        "slug": proposal.slug,
        "bottle": proposal.bottle,
        "kind": proposal.kind,
        "created": proposal.created,
        "expires": proposal.expires,
        "content": dict(proposal.content),
        "token": proposal.token,
        "state": status.state,
        "why": decision.why if decision else "",
        "answer": str(decision.answer.get("text", "")) if decision else "",
        "outcome": {"ok": outcome.ok, "text": outcome.text, "held": outcome.held} if outcome else None,
    }
