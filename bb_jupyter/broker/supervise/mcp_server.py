"""Supervise: the MCP server by which an agent reaches its human, at ``http://supervise:9100/``.

The official SDK serves streamable HTTP (MCP specification 2025-11-25 and before, 2026-07-28) without sessions: a client
does not notice that a new broker has started, and a call ends when its connection breaks.  A call waits for the human;
progress notifications meanwhile show the client that the call is alive.

The SDK takes most of a second to load.  The service listens before that, so that no launch waits for it; the first
requests wait instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from bb_jupyter.broker.broker_plan import SupervisePlan

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from bb_jupyter.broker.supervise.tools import SupervisedBroker

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def app(plan: SupervisePlan, broker: SupervisedBroker) -> DeferredApp:
    """Return the ASGI application of a bottle's supervise service.

    Args:
        plan: how long to wait.
        broker: the bottle's broker.
    """

    def make() -> Starlette:
        from bb_jupyter.broker.supervise.tools import server_app

        return server_app(broker, plan.timeout)

    return DeferredApp(make)


class DeferredApp:
    """An ASGI application that is made on another thread while it serves already.

    Args:
        make: returns the application.
    """

    def __init__(self, make: Callable[[], Starlette]) -> None:
        self._make = make
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
        try:
            made = await asyncio.to_thread(self._make)
            async with made.router.lifespan_context(made):
                self._app = made
                self._made.set()
                await receive()
        finally:
            self._made.set()
        await send({"type": "lifespan.shutdown.complete"})
