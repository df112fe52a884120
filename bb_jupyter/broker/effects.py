"""Approve or deny, from anywhere: the human's word into the queue, then what it brings about.

A bottle's broker sees to its own approvals while it lives; a held push whose broker is gone is released here, and an
offered file is always copied here, since here is where the human wants it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bb_jupyter.approvals import Proposal, Queue, Status, decide, get, is_alive, status, withdraw
from bb_jupyter.broker import staging
from bb_jupyter.errors import BottleError, UsageError, did_you_mean
from bb_jupyter.gateway.audit.audit_log import AuditLog

#: Seconds in which a bottle's owner starts a new broker in place of one that died.
_RETURNS: Final = 5.0
#: Seconds until what was approved is done, by kind: a push goes through the network, an answer is only fetched.
_PATIENCE: Final = {"push": 300.0, "egress": 90.0, "question": 5.0}
_POLL: Final = 0.1


def approve(
    id_: int,
    *,
    why: str = "",
    refs: Sequence[str] | None = None,
    answer: str | None = None,
    to: str | os.PathLike[str] | None = None,
    token: str | None = None,
) -> Status:
    """Say yes to a proposal, and wait until it is done.

    Args:
        id_: its number.
        why: words for the agent.
        refs: of a push, the names of those that go upstream; ``None`` for all.
        answer: to a question.
        to: of an offered file: where to copy it, a path that is not taken or a folder; ``None`` for
            ``<BOT_BOTTLE_HOME>/inbox/<bottle>/``.
        token: of what was shown; ``None`` for what the proposal says now.

    Returns:
        Where it stands; ``outcome`` says what came of it, and is ``None`` when that is not known yet.

    Raises:
        UnknownProposal: there is none of that number.
        TokenMismatch: something else was shown.
        AlreadyDecided: somebody was quicker, or its time is over.
        UsageError: an argument does not fit the proposal, or its bottle is gone.
    """
    proposal = get(id_)
    said = _said(proposal, refs, answer, to)
    target = _target(proposal, to) if proposal.kind == "copy-out" else None
    if not _is_unfinished_push(proposal):
        _check_attended(proposal)
        decide(id_, token=proposal.token if token is None else token, verdict="approved", why=why, answer=said)
        _audit(proposal, "approved", why)
    if target is not None:
        _copy(proposal, target)
    return _wait(proposal)


def deny(id_: int, *, why: str, token: str | None = None) -> Status:
    """Say no to a proposal.

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
    if proposal.kind == "push":
        from bb_jupyter.broker.git_gate import remove_abandoned

        remove_abandoned(proposal.slug)
    return status(id_)


def _said(proposal: Proposal, refs: Sequence[str] | None, answer: str | None, to: object) -> Mapping[str, Any]:
    """Return what is said beside yes.

    Raises:
        UsageError: it does not fit the proposal.
    """
    for given, kind, option in ((refs, "push", "refs"), (answer, "question", "answer"), (to, "copy-out", "to")):
        if given is not None and proposal.kind != kind:
            raise UsageError(f"{option}: request {proposal.id} is no {kind} but of kind '{proposal.kind}'")
    if proposal.kind == "question":
        return {"text": _answer(proposal, answer)}
    return {"refs": _refs(proposal, refs)} if refs is not None else {}


def _answer(proposal: Proposal, answer: str | None) -> str:
    choices = [str(choice) for choice in proposal.content.get("choices") or ()]
    if answer is None or not answer.strip():
        raise UsageError(f"request {proposal.id} is a question: say the answer", hint="`--answer TEXT`, or answer=…")
    if choices and answer not in choices:
        raise UsageError(f"this is none of the choices of request {proposal.id}", hint=did_you_mean(answer, choices))
    return answer


def _refs(proposal: Proposal, refs: Sequence[str]) -> list[str]:
    known = [str(ref.get("name")) for ref in proposal.content.get("refs") or () if isinstance(ref, dict)]
    full = {name.removeprefix("refs/heads/").removeprefix("refs/tags/"): name for name in known}
    for ref in refs:
        if ref not in known and ref not in full:
            raise UsageError(f"request {proposal.id} pushes no '{ref}'", hint=did_you_mean(ref, full))
    if not refs:
        raise UsageError("refs: name at least one", hint="To release none of them, deny it.")
    return [full.get(ref, ref) for ref in refs]


def _is_unfinished_push(proposal: Proposal) -> bool:
    """Whether a push was approved and whoever was to release it died."""
    standing = status(proposal.id)
    approved = proposal.kind == "push" and standing.state == "approved" and standing.outcome is None
    return approved and not is_alive(proposal.slug)


def _check_attended(proposal: Proposal) -> None:
    end = time.monotonic() + _RETURNS
    while proposal.kind != "push" and not is_alive(proposal.slug):
        if time.monotonic() > end:
            withdraw(proposal, "the bottle is gone")
            raise UsageError(f"the bottle of request {proposal.id} is gone", hint="Nobody waits for the answer now.")
        time.sleep(_POLL)


def _target(proposal: Proposal, to: str | os.PathLike[str] | None) -> Path:
    """Return where an offered file goes: into a folder that there is, or that a last `/` says is to be made.

    Raises:
        UsageError: something is there already, or no folder is.
    """
    name = staging.file_name(str(proposal.content["path"]))
    if to is None:
        return staging.free_name(staging.inbox(proposal.bottle), name)
    target = Path(to).expanduser().absolute()
    new_folder = os.fspath(to).endswith("/") and not os.path.lexists(target) and target.parent.is_dir()
    target = target / name if new_folder or target.is_dir() else target
    if os.path.lexists(target):
        raise UsageError(f"{target} is there already", hint="Nothing is overwritten: name another path.")
    if not (new_folder or target.parent.is_dir()):
        raise UsageError(f"there is no folder {target.parent}")
    return target


def _copy(proposal: Proposal, target: Path) -> None:
    queue = Queue(proposal.slug, proposal.bottle)
    try:
        digest = str(proposal.content["files"][0]["sha256"])
        target.parent.mkdir(exist_ok=True)
        staging.release(proposal.slug, str(proposal.content["staged"]), digest, target)
    except (BottleError, OSError, LookupError, TypeError) as error:
        queue.report(proposal.id, ok=False, text=f"It could not be copied: {error}.")
    else:
        queue.report(proposal.id, ok=True, text=f"Copied to {target}.", detail={"path": str(target)})


def _wait(proposal: Proposal) -> Status:
    """Wait for the outcome; a push whose broker is gone, also meanwhile, is released by this very process."""
    end = time.monotonic() + _PATIENCE.get(proposal.kind, 0.0)
    standing = status(proposal.id)
    while standing.state == "approved" and standing.outcome is None and time.monotonic() < end:
        if is_alive(proposal.slug):
            time.sleep(_POLL)
        elif proposal.kind == "push":
            _release(proposal)
        else:
            break
        standing = status(proposal.id)
    return standing


def _release(proposal: Proposal) -> None:
    from bb_jupyter.broker.git_gate import release

    release(proposal.id)


def _audit(proposal: Proposal, verdict: str, why: str) -> None:
    """Write down who decided when no broker lives to do so."""
    if is_alive(proposal.slug):
        return
    log = AuditLog(proposal.slug)
    try:
        event = {"event": "decision", "time": round(time.time(), 3), "id": proposal.id, "kind": proposal.kind}
        log.append([{**event, "verdict": verdict, "why": why[:512]}])
    finally:
        log.close()
