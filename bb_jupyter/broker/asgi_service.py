"""One service of the broker: an ASGI application, served by uvicorn on connections that are handed to it one by one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import uvicorn

#: Makes an ASGI application.
App = Callable[..., Any]
#: Seconds that requests get to end when the broker ends.
_GRACE: Final = 1
_KEEP_ALIVE: Final = 60


class _Server(uvicorn.Server):
    """uvicorn without listening sockets and signal handlers of its own."""

    def __init__(self, config: uvicorn.Config, up: asyncio.Event) -> None:
        super().__init__(config)
        self._up = up

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._up.set()


class AsgiService:
    """Serves one application, which may take its time to load.

    Args:
        load: imports what makes the application; in a thread, for that can take seconds.
        arguments: for what it returns: called with them, it makes an ASGI 3 application, whose lifespan is honoured.
    """

    def __init__(self, load: Callable[[], App], *arguments: object) -> None:
        self._load, self._arguments = load, arguments
        self._server: _Server | None = None
        self._running: asyncio.Task[None] | None = None
        self._up = asyncio.Event()

    async def start(self) -> None:
        """Load the application and run its startup.

        Raises:
            Exception: it cannot be loaded.
            RuntimeError: it does not start.
        """
        make = await _in_thread(self._load)
        config = uvicorn.Config(
            make(*self._arguments), http="h11", ws="none", lifespan="auto", log_config=None, access_log=False,
            proxy_headers=False, server_header=False, timeout_keep_alive=_KEEP_ALIVE, timeout_graceful_shutdown=_GRACE,
        )  # fmt: skip
        self._server = _Server(config, self._up)
        self._running = asyncio.create_task(self._server.serve(sockets=[]))
        up = asyncio.create_task(self._up.wait())
        done, _ = await asyncio.wait({self._running, up}, return_when=asyncio.FIRST_COMPLETED)
        if up not in done:
            up.cancel()
            raise RuntimeError("its application ended")

    async def serve(self, connection: socket.socket) -> None:
        """Serve an accepted connection, as soon as the application has started."""
        try:
            await self._up.wait()
            await asyncio.get_running_loop().connect_accepted_socket(self.protocol, connection)
        except BaseException:
            connection.close()
            raise

    def connections(self) -> int:
        """Return how many are open."""
        return len(self._server.server_state.connections) if self._server else 0

    def protocol(self) -> asyncio.Protocol:
        """Return a protocol for one accepted connection.

        Raises:
            RuntimeError: the application has not started.
        """
        if (server := self._server) is None:
            raise RuntimeError("the service has not started")
        config = server.config
        made: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
            config=config, server_state=server.server_state, app_state=server.lifespan.state
        )
        return made

    async def stop(self) -> None:
        """End the application: what is being answered gets a moment, then is cut off."""
        if self._server is not None and self._running is not None:
            self._server.should_exit = True
            await asyncio.wait({self._running}, timeout=2 * _GRACE + 1)
            self._running.cancel()


async def _in_thread(load: Callable[[], App]) -> App:
    """Run *load* in a thread that nobody waits for when the process ends."""
    loop, loaded = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

    def settle(app: App | None, error: BaseException | None) -> None:
        if not loaded.done():
            loaded.set_exception(error) if error else loaded.set_result(app)

    def run() -> None:
        app, failed = None, None
        try:
            app = load()
        except BaseException as error:
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(settle, app, failed)

    threading.Thread(target=run, name="load", daemon=True).start()
    found: App = await loaded
    return found
