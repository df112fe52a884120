"""One room of the desk: an ASGI application, served by uvicorn on connections that are handed to it one by one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from contextlib import AbstractContextManager
from typing import Any, Final

import uvicorn

#: Seconds that requests get to end when the desk ends.
_GRACE: Final = 1
_KEEP_ALIVE: Final = 60


class _Server(uvicorn.Server):
    """uvicorn without listening sockets and signal handlers of its own."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class Room:
    """Serves one application.

    Args:
        app: any ASGI 3 application; its lifespan is honoured if it has one.
    """

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - ASGI applications are just callable
        config = uvicorn.Config(
            app, http="h11", ws="none", lifespan="auto", log_config=None, access_log=False, proxy_headers=False,
            server_header=False, timeout_keep_alive=_KEEP_ALIVE, timeout_graceful_shutdown=_GRACE,
        )  # fmt: skip
        self._server = _Server(config)
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run the application's startup.

        Raises:
            RuntimeError: the application does not start.
        """
        self._running = asyncio.create_task(self._server.serve(sockets=[]))
        up = asyncio.create_task(self._server.up.wait())
        done, _ = await asyncio.wait({self._running, up}, return_when=asyncio.FIRST_COMPLETED)
        if up not in done:
            up.cancel()
            raise RuntimeError("a room did not start")

    def connections(self) -> int:
        """Return how many are open."""
        return len(self._server.server_state.connections)

    def protocol(self) -> asyncio.Protocol:
        """Return a protocol for one accepted connection."""
        server, config = self._server, self._server.config
        made: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg, assignment]
            config=config, server_state=server.server_state, app_state=server.lifespan.state
        )
        return made

    async def stop(self) -> None:
        """End the application: what is being answered gets a moment, then is cut off."""
        self._server.should_exit = True
        if self._running is not None:
            await asyncio.wait({self._running}, timeout=2 * _GRACE + 1)
            self._running.cancel()
