"""A broker without a process, which sees to the proposals of its bottle; a test plays the owner of the bottle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bb_jupyter.approvals import LivenessLock, Queue
from bb_jupyter.broker.effect_context import BrokerContext
from bb_jupyter.broker.proposals import ProposalService

SLUG, NAME = "demo-0123abcd", "demo"
Owner = Callable[[str, dict[str, Any]], dict[str, Any]]


class FakeBroker:
    """A broker without a process; `owner` answers what only an owner can do."""

    def __init__(self) -> None:
        self.slug, self.name = SLUG, NAME
        self.queue = Queue(SLUG, NAME)
        self.events: list[dict[str, Any]] = []
        self.owner: Owner = lambda event, fields: {"generation": 2}
        self._asked: dict[int, dict[str, Any]] = {}
        self.proposals = ProposalService(self, BrokerContext(self))

    def emit(self, event: str, **fields: object) -> None:
        self.events.append({"event": event, **fields})
        if event in ("apply", "stage"):
            self._asked[int(str(fields["id"]))] = self.owner(event, fields)

    async def applied(self, number: int) -> dict[str, Any]:
        return self._asked[number]

    def told(self, event: str) -> list[dict[str, Any]]:
        return [found for found in self.events if found["event"] == event]

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Live, and see to proposals."""
        lock = LivenessLock(SLUG)
        proposals = asyncio.create_task(self.proposals.run())
        try:
            yield
        finally:
            proposals.cancel()
            lock.close()
