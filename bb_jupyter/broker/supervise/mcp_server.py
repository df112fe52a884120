"""Supervise: the MCP server by which an agent reaches its human, at ``http://supervise:9100/``.

Streamable HTTP (MCP specification 2025-11-25 and before, 2026-07-28) by the official SDK, without sessions: a broker
that starts anew is noticed by nobody, and a call whose connection breaks is over.  A call waits for the human; progress
notifications tell the client meanwhile that it is alive.

The SDK takes most of a second to load.  The service serves before that, so that no launch waits for it; the first
requests wait instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from bb_jupyter.broker.broker_config import SuperviseConfig
from bb_jupyter.broker.proposals import ProposalService

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from bb_jupyter.broker.proposals import BrokerLike

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def app(config: SuperviseConfig, broker: BrokerLike) -> Later:
    """Return the ASGI application of a bottle's supervise service.

    Args:
        config: how long to wait.
        broker: the bottle's broker.
    """

    asking = ProposalService(broker, config.timeout)

    def make() -> Starlette:
        from bb_jupyter.broker.supervise.tools import server_app

        return server_app(asking, broker)

    return Later(make, asking.resume)


class Later:
    """An ASGI application that is made, on another thread, while it serves already.

    Args:
        make: returns the application.
        begin: called when it begins to serve.
    """

    def __init__(self, make: Callable[[], Starlette], begin: Callable[[], None]) -> None:
        self._make, self._begin = make, begin
        self._made = asyncio.Event()
        self._app: Starlette | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve a connection, or the whole life of the application (ASGI 3, lifespan 2.0)."""
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        await self._made.wait()
        if self._app is None:
            raise RuntimeError("the MCP server could not be made")
        await self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        self._begin()
        try:
            made = await asyncio.to_thread(self._make)
            async with made.router.lifespan_context(made):
                self._app = made
                self._made.set()
                await receive()
        finally:
            self._made.set()
        await send({"type": "lifespan.shutdown.complete"})
