"""The gateway's events: one JSON object a line, on standard output and on every control connection.

Every line passes one function that masks all secrets of the gateway, wherever they come from.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

from bb_jupyter.gateway.proxy.redact import Masker

_HIGH_WATER: Final = 1 << 20
_LONGEST_TEXT: Final = 512
#: Most events that wait for a sink: some 4 MB.
_MOST_MISSED: Final = 8192
_END_WAITS: Final = 0.02
_as_json: Final = json.JSONEncoder(separators=(",", ":")).encode


class Events:
    """Writes events to all sinks.

    While standard output is full, new requests wait (`ready`), so that nothing happens unreported.  A control
    connection that is full is dropped instead, because its reader may have gone.  While there is no sink, the latest
    events wait for the next one.
    """

    def __init__(self) -> None:
        self._main: asyncio.StreamWriter | None = None
        self._extra: set[asyncio.StreamWriter] = set()
        self._waiting: list[bytes] = []
        self._missed: deque[bytes] = deque(maxlen=_MOST_MISSED)
        self._dropped = 0
        self._soon = False
        self._masker = Masker(())
        self.generation = 0

    def set_secrets(self, secrets: Iterable[str]) -> None:
        """Mask these values in every later line."""
        self.flush()
        self._masker = Masker(secrets)

    def set_main(self, writer: asyncio.StreamWriter | None) -> None:
        """Set the sink that new requests wait for; ``None`` when it is gone."""
        self._main = writer

    def add(self, writer: asyncio.StreamWriter) -> None:
        """Add a sink, which is dropped if it falls behind; it first gets the events that no sink got."""
        self._extra.add(writer)
        if self._missed:
            writer.write(b"".join(self._missed))
            if self._dropped:
                writer.write(self.line("events-lost", count=self._dropped))
            self._missed.clear()
            self._dropped = 0

    def drop(self, writer: asyncio.StreamWriter) -> None:
        """Forget a sink."""
        self._extra.discard(writer)

    def line(self, event: str, **fields: object) -> bytes:
        """Return one event as a line; fields that are ``None`` are left out, long texts cut."""
        return self._masker.mask(self._unmasked(event, fields))

    def _unmasked(self, event: str, fields: dict[str, object]) -> bytes:
        record: dict[str, object] = {"event": event, "time": round(time.time(), 3), "generation": self.generation}
        for key, value in fields.items():
            if value is not None:
                record[key] = value[:_LONGEST_TEXT] if isinstance(value, str) and key != "ca_pem" else value
        return _as_json(record).encode() + b"\n"

    def emit(self, event: str, **fields: object) -> None:
        """Report one event within this turn of the event loop; the end of a flow waits up to 20 ms for others."""
        self._waiting.append(self._unmasked(event, fields))
        loop = asyncio.get_running_loop()
        if event != "egress-end":
            if not self._soon:
                self._soon = True
                loop.call_soon(self.flush)
        elif len(self._waiting) == 1:
            loop.call_later(_END_WAITS, self.flush)

    def flush(self) -> None:
        """Write everything that was reported, in one piece."""
        self._soon = False
        if not self._waiting:
            return
        lines, self._waiting = self._waiting, []
        data = b"".join(lines)
        if self._masker.finds(data):
            lines = [self._masker.mask(line) for line in lines]
            data = b"".join(lines)
        if self._main is None and not self._extra:
            self._dropped += max(0, len(self._missed) + len(lines) - _MOST_MISSED)
            self._missed += lines
            return
        if self._main is not None and not self._main.is_closing():
            self._main.write(data)
        for writer in [*self._extra]:
            if writer.is_closing() or writer.transport.get_write_buffer_size() > _HIGH_WATER:
                self._extra.discard(writer)
                writer.close()
            else:
                writer.write(data)

    async def ready(self) -> None:
        """Wait until the main sink has taken most of what was written."""
        main = self._main
        if main is not None and not main.is_closing():
            try:
                await main.drain()
            except ConnectionError:
                self._main = None


class EventLog(logging.Handler):
    """Turns log records, of this package and of the libraries under it, into events without a traceback."""

    def __init__(self, events: Events) -> None:
        super().__init__(logging.WARNING)
        self._events = events

    def emit(self, record: logging.LogRecord) -> None:
        """Report a record; of an exception, only its type: its text may hold what a client sent."""
        kind = record.exc_info[0] if record.exc_info else None
        where = f"{record.name}:{record.funcName}"
        if kind is not None and kind.__module__ == "aiohttp.http_exceptions":
            self._events.emit("egress", verdict="denied", rule="bad-request", reason=kind.__name__)
        else:
            self._events.emit("log", level=record.levelname, where=where, error=kind.__name__ if kind else None)
