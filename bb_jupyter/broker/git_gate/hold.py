"""Holding a push: from checked objects to a proposal in the human's queue."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bb_jupyter.approvals.kinds import push
from bb_jupyter.approvals.kinds.base import without_paths
from bb_jupyter.broker.git_gate.describe import summary
from bb_jupyter.broker.git_gate.environment import GitFailed
from bb_jupyter.broker.git_gate.mirror import Mirror
from bb_jupyter.broker.git_gate.push_rules import NOTHING, Update
from bb_jupyter.errors import BottleError

if TYPE_CHECKING:
    from bb_jupyter.approvals import Proposal, Queue

_HELD = (
    "A human decides: there is nothing more to do here, and pushing it again changes nothing.",
    "Approved, it appears upstream (git fetch); denied, the next git fetch or git push says why.",
    "To change it, commit and push again: that takes its place.",
)


@dataclass(frozen=True)
class Held:
    """What became of a push that passed the checks.

    Attributes:
        id: the proposal's number; ``None`` when it could not be held.
        lines: for the agent.
        error: why it could not, in a few words.
    """

    id: int | None
    lines: Sequence[str]
    error: str = ""


def hold(mirror: Mirror, queue: Queue, content: Mapping[str, Any], updates: Sequence[Update]) -> Held:
    """Propose a push, in place of pending ones that change the same refs.

    Args:
        mirror: has the objects.
        queue: the bottle's.
        content: what the hook found: commits, files, diff, findings.
        updates: what the push changes.
    """
    refs = sorted((_ref(update) for update in updates), key=lambda ref: ref["name"])
    names = {ref["name"] for ref in refs}
    try:
        before = [item for item in queue.pending() if _overlaps(item, mirror.repo.alias, names)]
        fold = "\n".join(["push", mirror.repo.alias, *sorted(names)])
        proposal = queue.propose(push.kind.name, {**_place(mirror), "refs": refs, **content}, fold_key=fold)
    except (BottleError, OSError) as error:
        return Held(None, [f"Not held: {without_paths(str(error))}"], "not held, see above")
    try:
        mirror.hold(proposal.id, {update.name: update.new for update in updates if update.new != NOTHING})
    except GitFailed:
        queue.withdraw(proposal.id, "these names do not go together")
        return Held(None, ["Not held: a branch cannot be a folder of another one."], "not held, see above")
    replaced = [line for old in before if old.id != proposal.id for line in _replace(queue, old, proposal, names)]
    first = f"Held for review: request {proposal.id} ({summary(content)}). Upstream has not changed."
    return Held(proposal.id, [first, *(f"  {update}" for update in updates), *replaced, *_HELD])


def _ref(update: Update) -> dict[str, str]:
    return {"name": update.name, "old": update.old, "new": update.new, "kind": update.kind}


def _place(mirror: Mirror) -> dict[str, str]:
    """Return where it goes, and where its credential is kept (never the credential)."""
    repo = mirror.repo
    fields = ("alias", "url", "identity", "host_key", "username", "token_ref", "ca")
    return {name: getattr(repo, name) for name in fields}


def _overlaps(proposal: Proposal, alias: str, names: set[str]) -> bool:
    if proposal.kind != push.kind.name:
        return False
    content = push.kind.read(proposal)
    return content.alias == alias and any(ref.name in names for ref in content.refs)


def _replace(queue: Queue, old: Proposal, new: Proposal, names: set[str]) -> list[str]:
    """Withdraw an older proposal, unless somebody has just decided it."""
    verdict = "withdrawn"
    with contextlib.suppress(BottleError):
        verdict = queue.withdraw(old.id, f"replaced by request {new.id}").verdict
    if verdict != "withdrawn":
        return [f"Request {old.id} was {verdict} meanwhile: if it moves upstream, push once more after git fetch."]
    others = [ref.name for ref in push.kind.read(old).refs if ref.name not in names]
    lost = f"; it also held {', '.join(others)}: push again what you still want" if others else ""
    return [f"Request {old.id} is withdrawn, this one takes its place{lost}."]
