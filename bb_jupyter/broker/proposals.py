"""How a bottle's broker asks the human: a proposal, the wait, what an approval brings about, and words for the agent.

One job a proposal, shared by every call that asks the same.  When the last of them no longer waits (the agent was
stopped, its connection broke), what is pending is withdrawn; what is approved is done whoever waits.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from bb_jupyter.approvals import Decision, Proposal, Queue, Status, all_proposals, get, status
from bb_jupyter.approvals.store.proposal import Kind
from bb_jupyter.broker import staging
from bb_jupyter.broker.redact_paths import without_paths
from bb_jupyter.errors import BottleError, UnknownProposal

if TYPE_CHECKING:
    from bb_jupyter.manifest import Route

#: Seconds that the owner gets to put in force what was approved, or to fetch a file.
_OWNER_ANSWERS: Final = 60.0

#: What an approval brings about: done or not, and words for human and agent.
Effect = Callable[[Proposal, Decision], Awaitable[tuple[bool, str, Mapping[str, Any]]]]


class BrokerLike(Protocol):
    """What is needed of a `bb_jupyter.broker.Broker`."""

    slug: str
    name: str

    @property
    def queue(self) -> Queue:
        """The bottle's queue."""

    def emit(self, event: str, **fields: object) -> None:
        """Tell the audit log and the owner."""

    async def applied(self, number: int) -> dict[str, Any]:
        """Wait for the owner's answer."""


class ProposalService:
    """Asks the human of one bottle.

    Args:
        broker: the bottle's.
        timeout: seconds until what nobody answers is denied.
    """

    def __init__(self, broker: BrokerLike, timeout: float) -> None:
        self._broker, self.timeout = broker, timeout
        self._jobs: dict[int, asyncio.Task[str]] = {}
        self._waiting: dict[int, int] = {}
        # One file at a time: what is on its way is on this host's disk, and no request that counts as one yet.
        self._staging = asyncio.Lock()

    def resume(self) -> None:
        """See to what waited, or was approved and not done, when an earlier broker of the bottle died.

        Who asked has lost its connection; it asks once more, and meets the same proposal, or reads the decision.
        """
        effects: dict[str, Effect] = {"egress": self._allow, "question": _answer, "copy-out": self._copied}
        for proposal, standing in all_proposals(self._broker.slug):
            if proposal.kind in effects and not standing.settled:
                self._jobs[proposal.id] = asyncio.create_task(self._settle(proposal, effects[proposal.kind]))

    async def host(self, route: Route, reason: str) -> str:
        """Ask for a route; return what the agent is told.

        Raises:
            Flood: the bottle asks for too much.
        """
        content = {
            **{"host": route.host, "port": route.effective_port, "scheme": route.scheme, "reason": reason},
            **{"methods": [*(route.methods or ())], "paths": [*(route.paths or ())]},
            "route": shown_route(route),
            "manifest": route.model_dump(mode="json", exclude_none=True),
        }
        return await self._ask("egress", content, self._allow)

    async def question(self, question: str, choices: list[str]) -> str:
        """Ask a question; return what the agent is told.

        Raises:
            Flood: the bottle asks for too much.
        """
        return await self._ask("question", {"question": question, "choices": choices}, _answer)

    async def file(self, path: str, reason: str) -> str:
        """Offer a file of the bottle as it is now; return what the agent is told.

        Raises:
            Flood: the bottle asks for too much.
            BottleError: the file cannot be had.
        """
        await self._staging.acquire()
        number = secrets.randbelow(1 << 48) + 1
        name = staging.request_name(number)
        fetching = asyncio.create_task(self._fetch(number, path))
        try:
            await asyncio.shield(fetching)
            proposal = self._propose_file(name, path, reason)
        finally:
            fetching.add_done_callback(lambda done: self._fetched(done, name))
        return await self._join(proposal)

    async def _fetch(self, number: int, path: str) -> None:
        """Have the owner fetch a file; it does so to the end, whoever still waits."""
        self._broker.queue.check_flood()
        self._broker.emit("stage", id=-number, path=path)
        await self._owner(-number)

    def _fetched(self, done: asyncio.Task[None], name: str) -> None:
        """Remove what nobody waited for, and let the next one begin."""
        if not done.cancelled():
            done.exception()  # whoever waits has it
        staging.discard(self._broker.slug, name)
        self._staging.release()

    def _propose_file(self, name: str, path: str, reason: str) -> Proposal:
        facts = staging.seal(self._broker.slug, name, path, reason)
        try:
            return self._propose("copy-out", {"path": path, "reason": reason, **facts}, self._copied)
        except BaseException:
            staging.discard(self._broker.slug, facts["staged"])
            raise

    async def word(self, id_: int) -> str:
        """Wait for the word on what was asked or pushed before; return what the agent is told.

        Raises:
            UnknownProposal: the bottle asked for no such thing.
        """
        with contextlib.suppress(TimeoutError):
            decision = await asyncio.wait_for(self._broker.queue.wait(id_), self.timeout)
            return told(get(id_), decision)
        return f"{id_} still waits for the human."

    async def _ask(self, kind: Kind, content: Mapping[str, Any], effect: Effect) -> str:
        return await self._join(self._propose(kind, content, effect))

    def _propose(self, kind: Kind, content: Mapping[str, Any], effect: Effect) -> Proposal:
        expires = round(time.time() + self.timeout, 3)
        proposal = self._broker.queue.propose(kind, content, expires=expires)
        if proposal.id not in self._jobs:
            self._broker.emit("proposal", id=proposal.id, kind=kind, expires=expires)
            self._jobs[proposal.id] = asyncio.create_task(self._settle(proposal, effect))
        return proposal

    async def _join(self, proposal: Proposal) -> str:
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

    async def _settle(self, proposal: Proposal, effect: Effect) -> str:
        try:
            decision = await self._broker.queue.wait(proposal.id)
            self._broker.emit(
                "decision", id=proposal.id, kind=proposal.kind, verdict=decision.verdict, why=decision.why
            )
            if decision.verdict != "approved":
                return told(proposal, decision)
            ok, text, detail = await effect(proposal, decision)
            with contextlib.suppress(BottleError, OSError):
                self._broker.queue.report(proposal.id, ok=ok, text=text, detail=detail)
            self._broker.emit("outcome", id=proposal.id, kind=proposal.kind, ok=ok, text=text)
            return f"{told(proposal, decision)}\n{_for_agent(proposal.kind, ok, text)}".strip()
        finally:
            del self._jobs[proposal.id]
            staging.discard(proposal.slug, str(proposal.content.get("staged")))

    async def _allow(self, proposal: Proposal, decision: Decision) -> tuple[bool, str, Mapping[str, Any]]:
        self._broker.emit("apply", id=proposal.id)
        try:
            answer = await self._owner(proposal.id)
        except BottleError as error:
            return False, f"It could not be put in force: {error.message}.", {}
        return True, f"In force: {proposal.content['route']}.", {"generation": answer.get("generation", 0)}

    async def _copied(self, proposal: Proposal, decision: Decision) -> tuple[bool, str, Mapping[str, Any]]:
        """Wait for who approved it: they copy the file."""
        end = time.monotonic() + _OWNER_ANSWERS
        while time.monotonic() < end:
            outcome = status(proposal.id).outcome
            if outcome is not None:
                return outcome.ok, outcome.text, outcome.detail
            await asyncio.sleep(0.1)
        return False, "It could not be copied.", {}

    async def _owner(self, number: int) -> dict[str, Any]:
        """Return the owner's answer.

        Raises:
            BottleError: it failed, or there is no owner.
        """
        try:
            answer = await asyncio.wait_for(self._broker.applied(number), _OWNER_ANSWERS)
        except TimeoutError:
            raise BottleError("no kernel holds the bottle") from None
        if "error" in answer:
            raise BottleError(str(answer["error"]))
        return answer


async def _answer(proposal: Proposal, decision: Decision) -> tuple[bool, str, Mapping[str, Any]]:
    return True, "", {}


def told(proposal: Proposal, decision: Decision) -> str:
    """Return the human's decision as the agent is told it."""
    answer = decision.answer.get("text")
    if decision.verdict == "approved" and proposal.kind == "question" and isinstance(answer, str):
        said = f"The human answered: {answer}"
    else:
        said = {
            "approved": "The human approved this.",
            "denied": "The human denied this; go on without it.",
            "expired": "Nobody answered in time, so this is denied; go on without it.",
            "withdrawn": "This was withdrawn.",
        }[decision.verdict]
    return f"{said} They say: {decision.why}" if decision.why and decision.verdict in ("approved", "denied") else said


def _for_agent(kind: Kind, ok: bool, text: str) -> str:
    """Return what came of an approval as the agent is told it: where its file went on this host is not its business."""
    if kind == "copy-out":
        return "They have the file." if ok else "But it could not be copied."
    return text if ok and kind != "push" else without_paths(text)


def line(proposal: Proposal, standing: Status) -> str:
    """Return one of the bottle's own proposals in a line, for its agent."""
    what = proposal.content.get("route") or proposal.content.get("question") or proposal.content.get("path")
    what = what or ", ".join(str(ref.get("name")) for ref in proposal.content.get("refs", []) if isinstance(ref, dict))
    said = f"{proposal.id}: {proposal.kind} {what}: {standing.state}"
    why = standing.decision.why if standing.decision else ""
    outcome = standing.outcome
    came = _for_agent(proposal.kind, outcome.ok, outcome.text) if outcome else ""
    return "; ".join(part for part in (said, why, came) if part)


def shown_route(route: Route) -> str:
    """Return the rule that a route becomes, in one line."""
    from bb_jupyter.gateway.egress_plan import EgressPlan, RoutePlan

    return str(EgressPlan().allowing(RoutePlan.from_route(route, "allowed")).routes[0])
