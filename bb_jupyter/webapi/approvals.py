"""The requests of bottles as JSON, and the human's decisions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bb_jupyter import approvals
from bb_jupyter.approvals import Proposal, Status, kinds
from bb_jupyter.errors import UsageError


def pending() -> Mapping[str, Any]:
    """Return all that waits for a decision, with its whole content, oldest first."""
    waiting = [(proposal, status) for proposal, status in approvals.all_proposals() if status.state == "pending"]
    return {"approvals": [_row(proposal, status) for proposal, status in waiting]}


def one(id_: int) -> Mapping[str, Any]:
    """Return one proposal, decided or not.

    Raises:
        UnknownProposal: there is none of that number.
    """
    return _row(approvals.get(id_), approvals.status(id_))


def decide(id_: int, *, verdict: str, token: str, why: str, options: Mapping[str, object]) -> Mapping[str, Any]:
    """Approve or deny what was shown.

    Args:
        id_: the proposal's number.
        verdict: `approved` or `denied`.
        token: of what was shown.
        why: words for the agent.
        options: what an approval says beside yes, by the names of its kind's options; ``None`` or an empty text stands
            for one that is not given.

    Raises:
        UsageError: an argument is wrong.
        UnknownProposal: there is none of that number.
        TokenMismatch: something else was shown.
        AlreadyDecided: somebody was quicker.
    """
    from bb_jupyter.broker.effects import approve, deny

    if not re.fullmatch(r"[0-9a-f]{64}", token):
        raise UsageError("token: must be that of the request, 64 hexadecimal digits")
    if verdict == "approved":
        given = {name: value for name, value in options.items() if value not in (None, "")}
        approve(id_, why=why, token=token, **given)
    elif verdict == "denied":
        deny(id_, why=why, token=token)
    else:
        raise UsageError("verdict: must be approved or denied")
    return one(id_)


def _row(proposal: Proposal, status: Status) -> Mapping[str, Any]:
    decision, outcome, kind = status.decision, status.outcome, kinds.of(proposal)
    return {
        "id": proposal.id,
        "slug": proposal.slug,
        "bottle": proposal.bottle,
        "kind": proposal.kind,
        "created": proposal.created,
        "expires": proposal.expires,
        "content": kind.page(kind.read(proposal)),
        "token": proposal.token,
        "state": status.state,
        "why": decision.why if decision else "",
        "answer": str(decision.answer.get("text", "")) if decision else "",
        "outcome": {"ok": outcome.ok, "text": outcome.text, "held": outcome.held} if outcome else None,
    }
