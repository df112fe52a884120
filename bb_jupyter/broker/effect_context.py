"""What the effects of approvals may use: in the bottle's broker, and where that has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from bb_jupyter.approvals import Proposal
from bb_jupyter.approvals.kinds.base import Result
from bb_jupyter.broker.broker_config import GitRepoConfig
from bb_jupyter.broker.proposals import BrokerLike, owner_answer
from bb_jupyter.errors import BottleError


class BrokerContext:
    """The broker's own means; see `bb_jupyter.approvals.kinds.base.Context`.

    Args:
        broker: the bottle's.
        repos: the repositories of its git gate, **with credentials**.
    """

    def __init__(self, broker: BrokerLike, repos: Iterable[GitRepoConfig] = ()) -> None:
        self._broker, self._repos = broker, [*repos]

    async def allow_route(self, proposal: Proposal) -> int:
        """Have the bottle's owner put an approved route in force.

        Raises:
            BottleError: it could not be put in force, or no kernel holds the bottle.
        """
        self._broker.emit("apply", id=proposal.id)
        answer = await owner_answer(self._broker, proposal.id)
        return int(answer.get("generation", 0))

    async def release_push(self, proposal: Proposal) -> Result:
        """Bring an approved push upstream with the broker's credentials."""
        return await asyncio.to_thread(_release, proposal, self._repos)


class LateContext:
    """The means of a process that approves what has outlived its bottle's broker: credentials are resolved anew."""

    async def allow_route(self, proposal: Proposal) -> int:
        """Refuse: the gateway ended with the bottle.

        Raises:
            BottleError: always.
        """
        raise BottleError("the bottle is gone")

    async def release_push(self, proposal: Proposal) -> Result:
        """Bring an approved push upstream."""
        return await asyncio.to_thread(_release, proposal, [])


def _release(proposal: Proposal, repos: Iterable[GitRepoConfig]) -> Result:
    from bb_jupyter.broker.git_gate import release

    try:
        outcome = release(proposal.id, repos=repos)
    except (BottleError, OSError) as error:
        return Result(False, str(error), held=True)
    return Result(outcome.ok, outcome.text, outcome.detail, outcome.held)
