"""Reading the queue: no locks, nothing but names and small files; whatever does not check is not there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from bb_jupyter.approvals import kinds
from bb_jupyter.approvals.store.proposal import Decision, Outcome, Proposal, Status
from bb_jupyter.approvals.store.storage import Folder, approvals_dir, slugs
from bb_jupyter.errors import UnknownProposal, did_you_mean

_PROPOSAL: Final = re.compile(r"(?P<id>[1-9]\d{0,11})\.json\Z")


def pending(slug: str | None = None) -> list[Proposal]:
    """Return what waits for a decision, oldest first.

    Args:
        slug: of one bottle; ``None`` for all.
    """
    return [proposal for proposal, status in _found(slug, _open_ids) if status.state == "pending"]


def all_proposals(slug: str | None = None) -> list[tuple[Proposal, Status]]:
    """Return everything that the queue still knows, decided ones too, oldest first.

    Args:
        slug: of one bottle; ``None`` for all.
    """
    return _found(slug, ids)


def _found(slug: str | None, which: Callable[[Folder], Iterable[int]]) -> list[tuple[Proposal, Status]]:
    folders = [Folder(name) for name in _chosen(slug)]
    loaded = [proposal for folder in folders for id_ in which(folder) if (proposal := load(folder, id_))]
    return [(proposal, status_of(proposal)) for proposal in sorted(loaded, key=lambda proposal: proposal.id)]


def _chosen(slug: str | None) -> Iterable[str]:
    return slugs() if slug is None else [slug]


def ids(folder: Folder) -> list[int]:
    """Return the numbers of a bottle's proposals, sorted."""
    return sorted(int(match["id"]) for name in folder.names() if (match := _PROPOSAL.match(name)))


def _open_ids(folder: Folder) -> Iterator[int]:
    """Return the numbers of those that may be pending, by names alone for nearly all: contents can be big."""
    names = {*folder.names()}
    for id_ in ids(folder):
        decided, outcome = decision_file(id_, 1) in names, outcome_file(id_, 1)
        if not decided or (outcome in names and (folder.read(outcome) or {}).get("held") is True):
            yield id_


def load(folder: Folder, id_: int) -> Proposal | None:
    """Return a proposal of one bottle; ``None`` when there is none that checks."""
    proposal = Proposal.from_json(folder.read(proposal_file(id_)) or {})
    if proposal is None or proposal.kind not in kinds.names():
        return None
    return proposal if (proposal.id, proposal.slug) == (id_, folder.path.name) else None


def get(id_: int) -> Proposal:
    """Return one proposal, decided or not.

    Raises:
        UnknownProposal: there is none of that number.
    """
    for slug in slugs():
        folder = Folder(slug)
        if folder.exists(proposal_file(id_)) and (proposal := load(folder, id_)):
            return proposal
    waiting = [str(proposal.id) for proposal in pending()]
    hint = did_you_mean(str(id_), waiting) if waiting else "Nothing waits for a decision."
    raise UnknownProposal(f"there is no request {id_}", hint=hint)


def status(id_: int) -> Status:
    """Return where a proposal stands.

    Raises:
        UnknownProposal: there is none of that number.
    """
    return status_of(get(id_))


def status_of(proposal: Proposal) -> Status:
    """Return where a proposal stands."""
    folder, round_ = Folder(proposal.slug), 1
    before: tuple[Decision | None, Outcome | None] = (None, None)
    while folder.exists(decision_file(proposal.id, round_)):
        decision = Decision.from_json(folder.read(decision_file(proposal.id, round_)) or {}, proposal, round_)
        outcome = Outcome.from_json(folder.read(outcome_file(proposal.id, round_)) or {}, proposal, round_)
        if decision is None:
            # Something is in the place of a decision: nobody said yes, and nobody can any more.
            return Status("denied", round_, None, None)
        if outcome is None or not outcome.held:
            return Status(decision.verdict, round_, decision, outcome)
        before, round_ = (decision, outcome), round_ + 1
    return Status("expired" if proposal.overdue else "pending", round_, *before)


def changes(slug: str | None = None) -> str:
    """Return a stamp of all that is proposed, decided and done; another one means that something changed.

    No file is opened: files of the queue never change, so their names say it all.

    Args:
        slug: of one bottle; ``None`` for all.
    """
    digest = hashlib.sha256(str(approvals_dir()).encode("utf-8", "surrogateescape"))
    for name in _chosen(slug):
        files = sorted(file for file in Folder(name).names() if file.endswith(".json") and file[0] != ".")
        digest.update("/".join([name, *files, ""]).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def proposal_file(id_: int) -> str:
    """Return the name of a proposal's file."""
    return f"{id_}.json"


def decision_file(id_: int, round_: int) -> str:
    """Return the name of a decision's file."""
    return f"{id_}.{round_}.decision.json"


def outcome_file(id_: int, round_: int) -> str:
    """Return the name of an outcome's file."""
    return f"{id_}.{round_}.outcome.json"
