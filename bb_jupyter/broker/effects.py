"""Approve or deny, from any process of the user: the decision goes into the queue, and this waits for its effect.

The broker of a bottle brings about what was approved.  A held push may outlive it: the process that approves one
releases it when no broker lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from concurrent.futures import Future
from typing import Final

from bb_jupyter.approvals import Proposal, Queue, Status, decide, get, is_alive, kinds, status, withdraw
from bb_jupyter.approvals.store.storage import Folder
from bb_jupyter.errors import BottleError, UsageError
from bb_jupyter.gateway.audit.audit_log import AuditLog
from bb_jupyter.process.waiting import wait_until

#: Seconds in which a bottle's owner starts a new broker in place of one that died.
_RETURNS: Final = 5.0


def approve(id_: int, *, why: str = "", token: str | None = None, **options: object) -> Status:
    """Approve a proposal, and wait until that is done.

    Args:
        id_: its number.
        why: words for the agent.
        token: of what was shown; ``None`` for what the proposal says now.
        options: what the kind of proposal takes beside, by name: `bb_jupyter.approvals.kinds.options` has them all.
            ``None`` stands for an option that is not given.

    Returns:
        Where it stands; ``outcome`` says what came of it, and is ``None`` when that is not known yet.

    Raises:
        UnknownProposal: there is none of that number.
        TokenMismatch: something else was shown.
        AlreadyDecided: somebody was quicker, or its time is over.
        UsageError: an option does not fit the proposal, or its bottle is gone.
    """
    proposal = get(id_)
    answer = kinds.answer(proposal, options)
    if not _was_abandoned(proposal):
        _check_attended(proposal)
        decide(id_, token=proposal.token if token is None else token, verdict="approved", why=why, answer=answer)
        _audit(proposal, "approved", why)
    return _wait(proposal)


def deny(id_: int, *, why: str, token: str | None = None) -> Status:
    """Deny a proposal.

    Args:
        id_: its number.
        why: words for the agent.
        token: of what was shown; ``None`` for what the proposal says now.

    Returns:
        Where it stands.

    Raises:
        UnknownProposal: there is none of that number.
        TokenMismatch: something else was shown.
        AlreadyDecided: somebody was quicker, or its time is over.
    """
    proposal = get(id_)
    decide(id_, token=proposal.token if token is None else token, verdict="denied", why=why)
    _audit(proposal, "denied", why)
    if kinds.of(proposal).outlives_bottle:
        from bb_jupyter.broker.git_gate import remove_abandoned

        remove_abandoned(proposal.slug)
    return status(id_)


def _was_abandoned(proposal: Proposal) -> bool:
    """Whether the proposal was approved, and the broker died before it was done."""
    standing = status(proposal.id)
    is_unfinished = standing.state == "approved" and standing.outcome is None
    return is_unfinished and kinds.of(proposal).outlives_bottle and not is_alive(proposal.slug)


def _check_attended(proposal: Proposal) -> None:
    """Wait for a broker that can bring about what is approved, unless that can be done without one.

    Raises:
        UsageError: the bottle is gone.
    """
    if kinds.of(proposal).outlives_bottle:
        return
    if not wait_until(lambda: is_alive(proposal.slug), timeout=_RETURNS, paths=[Folder(proposal.slug).path]):
        withdraw(proposal, "the bottle is gone")
        raise UsageError(f"the bottle of request {proposal.id} is gone", hint="Nobody waits for the answer now.")


def _wait(proposal: Proposal) -> Status:
    """Wait for the outcome; without a broker, bring about what has outlived it."""
    kind, folder = kinds.of(proposal), Folder(proposal.slug).path
    wait_until(lambda: _is_done(proposal) or not is_alive(proposal.slug), timeout=kind.patience, paths=[folder])
    if kind.outlives_bottle and not _is_done(proposal) and not is_alive(proposal.slug):
        _bring_about(proposal, status(proposal.id))
    return status(proposal.id)


def _is_done(proposal: Proposal) -> bool:
    standing = status(proposal.id)
    return standing.state != "approved" or standing.outcome is not None


def _bring_about(proposal: Proposal, standing: Status) -> None:
    """Do what the broker would have done; an interrupt ends the wait, not what was begun."""
    from bb_jupyter.broker.effect_context import LateContext
    from bb_jupyter.broker.proposals import report

    kind, decision = kinds.of(proposal), standing.decision
    assert decision is not None  # noqa: S101 - an approved proposal has one
    done: Future[None] = Future()

    def run() -> None:  # on a thread of its own: a notebook's main thread has a running event loop
        try:
            result = asyncio.run(kind.effect(proposal, kind.read(proposal), decision, LateContext()))
            with contextlib.suppress(BottleError, OSError):  # the effect has reported it
                report(Queue(proposal.slug, proposal.bottle), proposal, result)
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="bottle-effect", daemon=True).start()
    done.result()


def _audit(proposal: Proposal, verdict: str, why: str) -> None:
    """Write the decision to the audit log when no broker lives to do so."""
    if is_alive(proposal.slug):
        return
    log = AuditLog(proposal.slug)
    try:
        event = {"event": "decision", "time": round(time.time(), 3), "id": proposal.id, "kind": proposal.kind}
        log.append([{**event, "verdict": verdict, "why": why[:512]}])
    finally:
        log.close()
