"""Tell the agent once what became of its earlier pushes: denied and why, or approved and yet not released.

git shows a server's messages only beside a pack: with every push, and with a fetch that brings objects.  So that a
fetch brings some, each denied commit gets an annotated tag ``denied/<proposal>`` with the human's words; a clone that
has this commit follows the tag by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bb_jupyter.approvals import all_proposals, changes
from bb_jupyter.approvals.kinds import push
from bb_jupyter.approvals.kinds.base import without_paths
from bb_jupyter.broker.git_gate.git_errors import plain
from bb_jupyter.broker.git_gate.mirror import DENIED, HELD, Mirror
from bb_jupyter.broker.git_gate.push_rules import NOTHING

if TYPE_CHECKING:
    from bb_jupyter.approvals import Proposal, Status


@dataclass(frozen=True)
class Notice:
    """A message for the agent.

    Attributes:
        key: proposal and round; the name of a file.
        text: one line.
        denied: number and commit of a proposal that was denied.
    """

    key: str
    text: str
    denied: tuple[int, str] | None = None


class Notices:
    """The messages about one repository.

    Args:
        slug: the bottle's.
        mirror: of the repository.
    """

    def __init__(self, slug: str, mirror: Mirror) -> None:
        self._slug, self._mirror = slug, mirror
        self._stamp: str | None = None
        self._all: list[Notice] = []

    def untold(self) -> list[Notice]:
        """Return what the agent does not know yet, oldest first; denied commits get their tag."""
        if (stamp := changes(self._slug)) != self._stamp:
            self._read()
            self._stamp = stamp
        told = self._mirror.path / "told"
        told.mkdir(mode=0o700, exist_ok=True)
        return [notice for notice in self._all if not (told / notice.key).exists()]

    def tell(self, notices: list[Notice]) -> list[str]:
        """Return the lines to show, and remember that they were."""
        for notice in notices:
            (self._mirror.path / "told" / notice.key).touch()
        return [notice.text for notice in notices]

    def _read(self) -> None:
        held = self._mirror.all_refs(HELD)  # first: what is held while this reads has a proposal that it would not know
        pushes = [item for item in all_proposals(self._slug) if _concerns(item[0], self._mirror.repo.alias)]
        self._all = [notice for proposal, status in pushes for notice in _notices(proposal, status)]
        self._mirror.forget(held, (proposal.id for proposal, status in pushes if not status.settled))
        tags = self._mirror.all_refs(DENIED)
        for notice in self._all:
            if notice.denied and (name := f"{DENIED}{notice.denied[0]}") not in tags:
                self._mirror.annotate(name.removeprefix("refs/tags/"), notice.denied[1], notice.text)


def _concerns(proposal: Proposal, alias: str) -> bool:
    return proposal.kind == push.kind.name and push.kind.read(proposal).alias == alias


def _notices(proposal: Proposal, status: Status) -> Iterator[Notice]:
    decision, outcome, refs = status.decision, status.outcome, push.kind.read(proposal).refs
    if decision is None:
        return
    names = ", ".join(plain(ref.name) for ref in refs[:5])
    request, key = f"request {proposal.id} ({names})", f"{proposal.id}.{decision.round}"
    why = f": {plain(decision.why, 2000)}" if decision.why else ""
    if status.state == "denied":
        new = next((ref.new for ref in refs if ref.new != NOTHING), None)
        yield Notice(key, f"Denied: {request}{why}", (proposal.id, new) if new else None)
    elif outcome is not None and not outcome.ok:
        after = "It is held still" if outcome.held else "It is not held any more"
        yield Notice(key, f"Approved, but not upstream: {request}: {without_paths(plain(outcome.text, 500))}. {after}.")
    elif status.state == "approved" and (chosen := decision.answer.get("refs")):
        left = [ref.name for ref in refs if ref.name not in chosen]
        if left:
            yield Notice(key, f"Approved only in part: {request}; not {', '.join(map(plain, left))}{why}")
