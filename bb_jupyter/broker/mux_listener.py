"""The broker's end of a relay: a child process that reaches it, and the services that its connections go to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bb_jupyter.gateway.handoff.mux import Mux, ProtocolError

if TYPE_CHECKING:
    from bb_jupyter.broker.asgi_service import AsgiService


async def serve(
    command: Sequence[str], services: Mapping[str, AsgiService], there: asyncio.Event, on_ready: Callable[[], None]
) -> str:
    """Serve services through a relay until it ends.

    Args:
        command: program and arguments that join standard streams to the relay; it begins when it has read a line.
        services: what is served.
        there: set when the relay can be reached.
        on_ready: called when the relay listens in the bottle.

    Returns:
        Why it ended.
    """
    served: set[asyncio.Task[None]] = set()

    async def connect(service: str) -> socket.socket:
        ours, theirs = _pair()
        task = asyncio.create_task(services[service].serve(theirs))
        served.add(task)
        task.add_done_callback(served.discard)
        return ours

    child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=False)
    assert child.stdin is not None and child.stdout is not None  # noqa: S101 - pipes were asked for
    try:
        await there.wait()
        child.stdin.write(b"\n")
        await Mux(child.stdout, child.stdin, connect, on_ready).run()
    except (ProtocolError, ConnectionError) as error:
        return str(error)
    finally:
        for task in served:
            task.cancel()
        with contextlib.suppress(ProcessLookupError):
            child.kill()  # it holds nothing but the stream
        await child.wait()
    return "the relay in the bottle's network has ended"


def _pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
    return ours, theirs
