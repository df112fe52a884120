"""What a bottle asks for, from the proposal to its effect: one job each, in the bottle's broker.

A job waits for the decision, brings about what was approved and reports the outcome, whoever proposed it and whoever
waits.  Several calls of an agent that ask for the same share a job; when the last of them stops waiting (the agent was
stopped, its connection broke), what is pending is withdrawn.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol

from bb_jupyter.approvals import Decision, Proposal, Queue, Status, get, kinds, status
from bb_jupyter.approvals.kinds.base import Content, Context, Kind, Result
from bb_jupyter.approvals.store.queries import ids, load, status_of
from bb_jupyter.approvals.store.storage import Folder
from bb_jupyter.errors import BottleError, UnknownProposal
from bb_jupyter.process.waiting import wait_until_async

#: Seconds that the owner gets to put in force what was approved, or to fetch a file.
_OWNER_ANSWERS: Final = 60.0


class BrokerLike(Protocol):
    """What is needed of a `bb_jupyter.broker.broker_process.Broker`."""

    slug: str
    name: str

    @property
    def queue(self) -> Queue:
        """The bottle's queue."""

    def emit(self, event: str, **fields: object) -> None:
        """Report an event to the audit log and to the owner."""

    async def applied(self, number: int) -> dict[str, Any]:
        """Wait for the owner's answer."""


async def owner_answer(broker: BrokerLike, number: int) -> dict[str, Any]:
    """Wait for the answer of the bottle's owner to a request that was emitted.

    Raises:
        BottleError: the owner could not do it, or there is no owner.
    """
    try:
        answer = await asyncio.wait_for(broker.applied(number), _OWNER_ANSWERS)
    except TimeoutError:
        raise BottleError("no kernel holds the bottle") from None
    if "error" in answer:
        raise BottleError(str(answer["error"]))
    return answer


class ProposalService:
    """The jobs of one bottle.

    Args:
        broker: the bottle's.
        context: what effects may use.
    """

    def __init__(self, broker: BrokerLike, context: Context) -> None:
        self._broker, self._context = broker, context
        self._since = round(time.time(), 3)
        self._seen: set[int] = set()
        self._jobs: dict[int, asyncio.Task[str]] = {}
        self._waiting: dict[int, int] = {}

    async def run(self) -> None:
        """Start a job for every proposal that has none, until cancelled.

        What an earlier broker of the bottle left when it died comes first: it waits for a decision, or was approved
        and not done.  An agent that asked for it has lost its connection; when it asks again, it joins the same job.
        """
        folder = Folder(self._broker.slug)
        while True:
            for proposal in await wait_until_async(lambda: self._new(folder), paths=[folder.path]):
                self._seen.add(proposal.id)
                if not status_of(proposal).settled:
                    self._start(proposal)

    def _new(self, folder: Folder) -> list[Proposal]:
        """Return the proposals that have not been seen yet."""
        return [found for id_ in ids(folder) if id_ not in self._seen and (found := load(folder, id_))]

    def propose(self, kind: Kind[Any], content: Content | Mapping[str, Any], timeout: float) -> Proposal:
        """Ask the human for something.

        Args:
            kind: of what.
            content: what exactly.
            timeout: seconds until it is denied when nobody decides.

        Returns:
            The proposal, new or pending already.

        Raises:
            Flood: the bottle asks for too much.
        """
        said = content.to_json() if isinstance(content, Content) else content
        proposal = self._broker.queue.propose(kind.name, said, expires=round(time.time() + timeout, 3))
        if proposal.id not in self._jobs:
            self._start(proposal)
        return proposal

    async def ask(self, kind: Kind[Any], content: Content, timeout: float) -> str:
        """Ask the human for something and wait for the outcome; see `propose`.

        Returns:
            What became of it, for the agent.

        Raises:
            Flood: the bottle asks for too much.
        """
        return await self.join(self.propose(kind, content, timeout))

    async def join(self, proposal: Proposal) -> str:
        """Wait for what becomes of a proposal; return it for the agent."""
        job = self._jobs[proposal.id]
        self._waiting[proposal.id] = self._waiting.get(proposal.id, 0) + 1
        try:
            return await asyncio.shield(job)
        finally:
            self._waiting[proposal.id] -= 1
            if not self._waiting[proposal.id]:
                del self._waiting[proposal.id]
                if not job.done():
                    with contextlib.suppress(UnknownProposal, OSError):
                        self._broker.queue.withdraw(proposal.id, "the agent waits no more")

    async def decision(self, id_: int, timeout: float) -> str:
        """Wait for the decision on what was asked or pushed before; return it for the agent.

        Raises:
            UnknownProposal: the bottle asked for no such thing.
        """
        with contextlib.suppress(TimeoutError):
            decision = await asyncio.wait_for(self._broker.queue.wait(id_), timeout)
            return _decided(get(id_), decision)
        return f"{id_} still waits for the human."

    def _start(self, proposal: Proposal) -> None:
        if proposal.created >= self._since:  # else an earlier broker has reported it
            self._broker.emit("proposal", id=proposal.id, kind=proposal.kind, expires=proposal.expires)
        self._seen.add(proposal.id)
        self._jobs[proposal.id] = asyncio.create_task(self._settle(proposal))

    async def _settle(self, proposal: Proposal) -> str:
        """See to one proposal until nothing more can come of it; return that for the agent."""
        kind = kinds.of(proposal)
        try:
            while True:
                decision = await self._broker.queue.wait(proposal.id)
                facts = {"id": proposal.id, "kind": proposal.kind}
                self._broker.emit("decision", **facts, verdict=decision.verdict, why=decision.why)
                words = _decided(proposal, decision)
                if decision.verdict == "approved":
                    result = await self._bring_about(kind, proposal, decision)
                    self._broker.emit("outcome", **facts, ok=result.ok, text=result.text)
                    if result.held and _waits_again(proposal):
                        continue
                    words = f"{words}\n{kind.outcome(result.ok, result.text)}".strip()
                kind.clean_up(proposal)
                return words
        finally:
            del self._jobs[proposal.id]

    async def _bring_about(self, kind: Kind[Any], proposal: Proposal, decision: Decision) -> Result:
        try:
            result = await kind.effect(proposal, kind.read(proposal), decision, self._context)
        except (BottleError, OSError) as error:
            result = Result(False, str(error))
        with contextlib.suppress(BottleError, OSError):  # the effect has reported it, or the bottle is gone
            report(self._broker.queue, proposal, result)
        return result


def report(queue: Queue, proposal: Proposal, result: Result) -> None:
    """Keep the outcome of an approval, unless one is kept already.

    Raises:
        BottleError: the proposal waits for a decision or is gone.
        OSError: the outcome cannot be written.
    """
    queue.report(proposal.id, ok=result.ok, text=result.text, detail=result.detail, held=result.held)


def _waits_again(proposal: Proposal) -> bool:
    try:
        return status(proposal.id).state == "pending"
    except UnknownProposal:
        return False


def _decided(proposal: Proposal, decision: Decision) -> str:
    """Return the human's decision as the agent reads it."""
    kind = kinds.of(proposal)
    if decision.verdict == "approved":
        words = kind.approval(kind.read(proposal), decision)
    else:
        words = {
            "denied": "The human denied this; continue without it.",
            "expired": "Nobody answered in time, so this is denied; continue without it.",
            "withdrawn": "This was withdrawn.",
        }[decision.verdict]
    return f"{words} They say: {decision.why}" if decision.why and decision.verdict in ("approved", "denied") else words


def line(proposal: Proposal, standing: Status) -> str:
    """Return one of the bottle's own proposals in a line, for its agent."""
    kind = kinds.of(proposal)
    words = f"{proposal.id}: {proposal.kind} {kind.summary(kind.read(proposal))}: {standing.state}"
    why = standing.decision.why if standing.decision else ""
    outcome = kind.outcome(standing.outcome.ok, standing.outcome.text) if standing.outcome else ""
    return "; ".join(part for part in (words, why, outcome) if part)
