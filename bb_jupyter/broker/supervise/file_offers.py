"""An agent offers a file: the owner fetches it from the bottle as it is now, then it is proposed to the human."""

from __future__ import annotations

import asyncio
import secrets

from bb_jupyter.approvals import Proposal
from bb_jupyter.approvals.kinds import copy_out
from bb_jupyter.approvals.store import staging
from bb_jupyter.broker.proposals import BrokerLike, ProposalService, owner_answer


class FileOffers:
    """The files that one bottle offers, one at a time.

    A file that is being fetched is on this host's disk and does not count as a request yet, so a second one waits.

    Args:
        broker: the bottle's.
        proposals: the jobs of the bottle's proposals.
        timeout: seconds until an offer is denied when nobody decides.
    """

    def __init__(self, broker: BrokerLike, proposals: ProposalService, timeout: float) -> None:
        self._broker, self._proposals, self._timeout = broker, proposals, timeout
        self._staging = asyncio.Lock()

    async def offer(self, path: str, reason: str) -> str:
        """Offer a file of the bottle; return what became of that, for the agent.

        Args:
            path: in the bottle, relative to its home.
            reason: why it is offered.

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
            proposal = self._propose(name, path, reason)
        finally:
            fetching.add_done_callback(lambda done: self._fetched(done, name))
        return await self._proposals.join(proposal)

    async def _fetch(self, number: int, path: str) -> None:
        """Have the owner fetch a file; the owner does so to the end, whoever still waits."""
        self._broker.queue.check_flood()
        self._broker.emit("stage", id=-number, path=path)
        await owner_answer(self._broker, -number)

    def _fetched(self, done: asyncio.Task[None], name: str) -> None:
        """Remove what nobody waited for, and let the next offer begin."""
        if not done.cancelled():
            done.exception()  # the one who waits has it
        staging.discard(self._broker.slug, name)
        self._staging.release()

    def _propose(self, name: str, path: str, reason: str) -> Proposal:
        facts = staging.seal(self._broker.slug, name, path, reason)
        content = copy_out.CopyOutContent.from_json({"path": path, "reason": reason, **facts})
        try:
            return self._proposals.propose(copy_out.kind, content, self._timeout)
        except BaseException:
            staging.discard(self._broker.slug, content.staged)
            raise
