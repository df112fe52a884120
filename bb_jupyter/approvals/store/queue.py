"""The bottle's side of the queue: its broker proposes, waits, and tells what came of it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any, Final

from bb_jupyter.approvals import kinds
from bb_jupyter.approvals.store.decisions import expire, withdraw
from bb_jupyter.approvals.store.proposal import Decision, Outcome, Proposal, canonical
from bb_jupyter.approvals.store.queries import (
    all_proposals,
    decision_file,
    ids,
    load,
    outcome_file,
    pending,
    proposal_file,
    status_of,
)
from bb_jupyter.approvals.store.storage import Folder, approvals_dir, slugs
from bb_jupyter.errors import Flood, UnknownProposal, UsageError
from bb_jupyter.home import private_dir
from bb_jupyter.process.waiting import wait_until_async

#: Most bytes of a proposal's content, as JSON.
LARGEST_CONTENT: Final = 1 << 20
#: Most that may wait at once, most in a time, and that time in seconds; of one bottle.
MOST_PENDING, MOST_NEW, WINDOW = 16, 60, 600.0
#: How many decided ones are kept of one bottle.
_KEPT: Final = 200
#: Seconds for which an outcome can be read, at least: on a busy machine its reader is woken late.
_NEWS: Final = 1.0
_COUNTER: Final = ".counter"


class Queue:
    """The queue of one bottle.

    Args:
        slug: the bottle's.
        name: what the user calls it.

    Raises:
        UsageError: *slug* could not be a folder's name.
    """

    def __init__(self, slug: str, name: str) -> None:
        self.slug, self.name = slug, name
        self._folder = Folder(slug)

    def propose(
        self, kind: str, content: Mapping[str, Any], *, expires: float | None = None, fold_key: str = ""
    ) -> Proposal:
        """Ask for something.

        Pending proposals of one kind and fold key are one request: with the same content the older one is returned,
        with another one it is withdrawn for the new one.

        Args:
            kind: of what.
            content: what exactly, plain JSON; see the kind's content in `bb_jupyter.approvals.kinds`.
            expires: when it is denied by itself, seconds since the epoch; ``None`` for never.
            fold_key: what makes requests the same; empty for their content.

        Returns:
            The proposal, new or pending already.

        Raises:
            Flood: the bottle asks for too much.
            UsageError: there is no such kind, or *content* is too big or no plain JSON.
            OSError: the disk is full or not writable.
        """
        kinds.get(kind)
        try:
            said = canonical(content)
        except (TypeError, ValueError):
            raise UsageError("a request's content is plain JSON") from None
        if len(said) > LARGEST_CONTENT:
            raise UsageError(f"a request may hold {LARGEST_CONTENT} bytes, this one has {len(said)}")
        fold = hashlib.sha256(fold_key.encode("utf-8", "replace") or said).hexdigest()
        self._folder.create()
        with _counter() as counter:
            waiting = pending(self.slug)
            same = next((item for item in waiting if (item.kind, item.fold) == (kind, fold)), None)
            if same and canonical(same.content) == said:
                return same
            self._hold_back(len(waiting) - bool(same))
            new = self._add(counter, Proposal(0, self.slug, self.name, kind, time.time(), expires, fold, content))
        if same:
            withdraw(same, f"replaced by {new.id}")
        return new

    def check_flood(self) -> None:
        """Refuse what `propose` would refuse.

        Raises:
            Flood: the bottle asks for too much.
        """
        self._hold_back(len(pending(self.slug)))

    def _hold_back(self, waiting: int) -> None:
        if waiting >= MOST_PENDING:
            raise Flood(f"{waiting} requests wait for the human already", hint="Wait until some of them are decided.")
        latest = ids(self._folder)[-MOST_NEW:]
        first = load(self._folder, latest[0]) if len(latest) == MOST_NEW else None
        seconds = first.created + WINDOW - time.time() if first else 0
        if seconds > 0:
            raise Flood(f"{MOST_NEW} requests in {WINDOW / 60:g} minutes", hint=f"Try again in {seconds:.0f} s.")

    def _add(self, counter: int, draft: Proposal) -> Proposal:
        self._prune()
        number = _next(counter)
        proposal = replace(draft, id=number, created=round(draft.created, 3)).sealed()
        self._folder.write(proposal_file(number), proposal.to_json())
        return proposal

    def _prune(self) -> None:
        """Forget the oldest that are done with, so that a bottle fills no disk."""
        for id_ in ids(self._folder)[:-_KEPT]:
            proposal = load(self._folder, id_)
            if proposal is None or status_of(proposal).settled:
                self._folder.remove(proposal_file(id_))
                for name in self._folder.names():
                    if name.startswith(f"{id_}."):
                        self._folder.remove(name)

    def decision(self, id_: int) -> Decision | None:
        """Return what was decided; ``None`` while it is pending.

        Raises:
            UnknownProposal: there is none of that number, or it is another bottle's.
        """
        status = status_of(self._own(id_))
        return None if status.state == "pending" else status.decision or expire(self._own(id_))

    async def wait(self, id_: int) -> Decision:
        """Wait until it is decided, at the latest until it expires.

        Returns:
            The decision; "withdrawn" when the proposal is gone.
        """
        proposal = self._own(id_)
        round_ = status_of(proposal).round

        def decided() -> bool:
            return self._folder.exists(decision_file(id_, round_))

        await wait_until_async(
            lambda: decided() or not self._folder.exists(proposal_file(id_)) or proposal.overdue,
            timeout=None if proposal.expires is None else max(0.0, proposal.expires - time.time()),
            paths=[self._folder.path],
        )
        if not decided():
            if self._folder.exists(proposal_file(id_)):
                return expire(proposal)
            return Decision(id_, proposal.token, "withdrawn", why="the bottle is gone")
        return status_of(proposal).decision or Decision(id_, proposal.token, "denied", why="it cannot be read")

    def withdraw(self, id_: int, why: str) -> Decision:
        """Take one back, unless it is decided; return what was decided."""
        return withdraw(self._own(id_), why)

    def report(
        self, id_: int, *, ok: bool, text: str = "", held: bool = False, detail: Mapping[str, Any] | None = None
    ) -> Outcome:
        """Say what came of an approval, once.

        Args:
            id_: the proposal's.
            ok: it is done.
            text: what was done, or why not.
            held: it was not done, and the proposal waits for a new decision.
            detail: more, plain JSON.

        Returns:
            What was said; by somebody else, if they were first.

        Raises:
            UnknownProposal: there is none of that number, or it is another bottle's.
        """
        proposal = self._own(id_)
        status = status_of(proposal)
        if status.decision is None or status.state == "pending":
            raise UsageError(f"request {id_} is not decided")
        outcome = Outcome(id_, status.round, ok, text, held and not ok, detail or {}, round(time.time(), 3))
        try:
            self._folder.write(outcome_file(id_, status.round), asdict(outcome))
        except FileExistsError:
            return status_of(proposal).outcome or outcome
        return outcome

    def pending(self) -> list[Proposal]:
        """Return what waits for a decision, oldest first."""
        return pending(self.slug)

    def end(self) -> list[Proposal]:
        """Take back all that only a live bottle needs, and forget what is done with.

        Returns:
            What outlives the bottle, such as held pushes; without any the bottle's folder is gone.
        """
        for proposal in self.pending():
            if not kinds.of(proposal).outlives_bottle:
                withdraw(proposal, "the bottle ended")
        known = all_proposals(self.slug)
        held = [item for item, status in known if kinds.of(item).outlives_bottle and not status.settled]
        if not held:
            # Whoever has just approved waits to hear what came of it.
            told = max((status.outcome.time for _, status in known if status.outcome), default=0.0)
            time.sleep(max(0.0, min(told + _NEWS - time.time(), _NEWS)))
            shutil.rmtree(self._folder.path, ignore_errors=True)
        for name in self._folder.names():
            if name.startswith("staged-"):
                self._folder.remove(name)
        return held

    def _own(self, id_: int) -> Proposal:
        """Return one of its own; what other bottles ask for is told to nobody here, not even by number."""
        proposal = load(self._folder, id_)
        if proposal is None:
            raise UnknownProposal(f"there is no request {id_} of this bottle")
        return proposal


@contextmanager
def _counter() -> Iterator[int]:
    """Hold the counter of all queues of this user; who holds it proposes alone."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(private_dir(approvals_dir()) / _COUNTER, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _next(counter: int) -> int:
    """Count one further; a counter that was lost goes on after the highest number there is."""
    text = os.pread(counter, 32, 0)
    last = int(text) if text.strip().isdigit() else 0
    number = max([last, *(number for slug in slugs() for number in ids(Folder(slug))[-1:])]) + 1
    os.pwrite(counter, b"%020d\n" % number, 0)
    return number
