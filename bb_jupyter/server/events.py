"""What has changed, over Jupyter's own event stream: names of bottles, never their content."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from jupyter_events import EventLogger
from jupyter_server.serverapp import ServerApp
from tornado.ioloop import IOLoop

from bb_jupyter.webapi.watcher import INTERVAL, Watcher

SCHEMA_ID: Final = "https://bb-jupyter.invalid/changed/v1"
_SLUGS: Final = {"type": "array", "items": {"type": "string"}}
#: See `Watcher.changes`.
SCHEMA: Final[dict[str, Any]] = {
    "$id": SCHEMA_ID,
    "version": "1",
    "title": "Bottles or approvals changed",
    "personal-data": True,
    "type": "object",
    "properties": dict.fromkeys(("bottles", "approvals", "output", "egress"), _SLUGS),
    "additionalProperties": False,
}


def watch(server: ServerApp) -> None:
    """Emit an event for whatever changes, for as long as the server's loop runs."""
    events = server.event_logger
    if events is not None:
        events.register_event_schema(SCHEMA)
        IOLoop.current().add_callback(_watch, server, events)


async def _watch(server: ServerApp, events: EventLogger) -> None:
    with await asyncio.to_thread(Watcher) as watcher:
        while True:
            try:
                await asyncio.to_thread(watcher.wait)
                changed = await asyncio.to_thread(watcher.changes)
            except OSError as error:  # the home is gone, or full, for a while
                server.log.debug("bb_jupyter: cannot look: %s", error)
                await asyncio.sleep(INTERVAL)
                continue
            if changed:
                events.emit(schema_id=SCHEMA_ID, data=changed)
