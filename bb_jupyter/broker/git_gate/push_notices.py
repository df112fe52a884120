"""What the agent is told of its earlier pushes, once: denied and why, or approved and yet not released.

git shows a server's words only beside a pack.  So a push always brings them, and a fetch when it brings anything; to
bring something, each denied commit gets an annotated tag ``denied/<proposal>`` with the human's words, which a clone
that has this commit follows by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bb_jupyter.approvals import all_proposals, changes
from bb_jupyter.broker.git_gate.git_errors import plain
from bb_jupyter.broker.git_gate.mirror import DENIED, HELD, Mirror
from bb_jupyter.broker.git_gate.push_rules import NOTHING
from bb_jupyter.broker.redact_paths import without_paths

if TYPE_CHECKING:
    from bb_jupyter.approvals import Proposal, Status


@dataclass(frozen=True)
class Notice:
    """Something to tell.

    Attributes:
        key: proposal and round, a file's name.
        text: one line.
        denied: the proposal's number and commit, when it was denied.
    """

    key: str
    text: str
    denied: tuple[int, str] | None = None


class Notices:
    """Of one repository.

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
    return proposal.kind == "push" and proposal.content.get("alias") == alias


def _notices(proposal: Proposal, status: Status) -> Iterator[Notice]:
    decision, outcome = status.decision, status.outcome
    if decision is None:
        return
    what, key = f"request {proposal.id} ({_refs(proposal.content)})", f"{proposal.id}.{decision.round}"
    why = f": {plain(decision.why, 2000)}" if decision.why else ""
    if status.state == "denied":
        new = next((ref["new"] for ref in proposal.content["refs"] if ref["new"] != NOTHING), None)
        yield Notice(key, f"Denied: {what}{why}", (proposal.id, new) if new else None)
    elif outcome is not None and not outcome.ok:
        after = "It is held still" if outcome.held else "It is not held any more"
        yield Notice(key, f"Approved, but not upstream: {what}: {without_paths(plain(outcome.text, 500))}. {after}.")
    elif status.state == "approved" and (chosen := decision.answer.get("refs")):
        left = [ref["name"] for ref in proposal.content["refs"] if ref["name"] not in chosen]
        if left:
            yield Notice(key, f"Approved only in part: {what}; not {', '.join(map(plain, left))}{why}")


def _refs(content: Mapping[str, Any]) -> str:
    return ", ".join(plain(ref["name"]) for ref in content["refs"][:5])
