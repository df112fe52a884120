"""Releases approved pushes for as long as the broker lives, and tells what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

from bb_jupyter.approvals import Proposal, State, Status, all_proposals, changes
from bb_jupyter.broker.broker_config import GitRepoConfig
from bb_jupyter.broker.git_gate.release_push import release
from bb_jupyter.errors import BottleError

_POLL: Final = 0.2
_Told = tuple[int, int, State]

if TYPE_CHECKING:

    class _Broker(Protocol):
        slug: str

        def emit(self, event: str, **fields: object) -> None: ...


async def watch(broker: _Broker, repos: Iterable[GitRepoConfig]) -> None:
    """Look at the queue until cancelled.

    Args:
        broker: the bottle's.
        repos: its repositories, **with credentials**.
    """
    stamp = ""
    told: set[_Told] = {(p.id, s.round, s.state) for p, s in _pushes(broker.slug) if s.settled}
    while True:
        if (now := changes(broker.slug)) != stamp:
            stamp = now
            for proposal, status in await asyncio.to_thread(_pushes, broker.slug):
                await _attend(broker, proposal, status, [*repos], told)
        await asyncio.sleep(_POLL)


def _pushes(slug: str) -> list[tuple[Proposal, Status]]:
    return [item for item in all_proposals(slug) if item[0].kind == "push"]


async def _attend(
    broker: _Broker, proposal: Proposal, status: Status, repos: list[GitRepoConfig], told: set[_Told]
) -> None:
    """Tell a decision once, and bring about what was approved."""
    decision, key = status.decision, (proposal.id, status.round, status.state)
    if status.state == "pending" or decision is None or key in told:
        return
    told.add(key)
    broker.emit("decision", id=proposal.id, kind="push", verdict=decision.verdict, why=decision.why)
    if status.state == "approved" and status.outcome is None:
        try:
            outcome = await asyncio.to_thread(release, proposal.id, repos=repos)
        except (BottleError, OSError) as error:
            return broker.emit("outcome", id=proposal.id, kind="push", ok=False, text=str(error))
        broker.emit("outcome", id=proposal.id, kind="push", ok=outcome.ok, text=outcome.text)
