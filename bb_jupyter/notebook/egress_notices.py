"""Notices of a bottle's gateway in the running cell: refusals, failures and its death, in a few short lines."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.notebook.views.approval_cards import Cards
from bb_jupyter.text.visible import one_line

#: Most lines in one cell, and most further refusals that are counted.
SHOWN, COUNTED = 5, 1000
#: Seconds between two looks while a command is silent.
_INTERVAL = 0.2
#: Refusals that `%bottle allow` lifts.
_BY_HOST = ("no-route", "port")
#: Other refusals that a route in a manifest lifts.
_BY_ROUTE = ("scheme", "method", "path")


class EgressNotices:
    """Collects refusals, failures and the gateway's death, each host and rule once, until `finish`.

    Args:
        handle: the bottle.
    """

    def __init__(self, handle: BottleHandle) -> None:
        self._name, self._network = handle.name, handle.bottle.network
        self._lock = threading.Lock()
        self._seen: set[tuple[object, ...]] = set()
        self._waiting: list[str] = []
        self._more = 0
        self._cards = Cards(handle, self._waiting.append)
        self._network.events.append(self._take_event)
        if self._network.state == "lost":
            self._take_event({"event": "gateway-died"})

    def take(self) -> Sequence[str]:
        """Return the new lines; requests that await an approval are shown beside them."""
        self._cards.look()
        with self._lock:
            taken = self._waiting[:]
            self._waiting.clear()
        return taken

    def patience(self) -> float | None:
        """Return after how many seconds to look again; `None` for a bottle without network."""
        return None if self._network.state == "none" and not self._cards.expected else _INTERVAL

    def finish(self) -> Sequence[str]:
        """Wait for the gateway's decisions so far, stop listening, and return the last lines."""
        if self._take_event not in self._network.events:
            return ()
        self._network.sync()
        self._network.events.remove(self._take_event)
        self._cards.finish()
        more = f"more than {COUNTED}" if self._more > COUNTED else f"{self._more} more"
        last = [f"egress: … and {more}: %bottle egress {self._name} --denied"] if self._more else []
        return [*self.take(), *last]

    def _take_event(self, event: Mapping[str, Any]) -> None:
        """Take an event on the gateway's thread; memory is bounded however many hosts a bottle asks for."""
        line = self._line(event)
        key = tuple(event.get(name) for name in ("event", "host", "port", "rule"))
        with self._lock:
            if not line or key in self._seen:
                return
            if len(self._seen) <= SHOWN + COUNTED:
                self._seen.add(key)
            if len(self._seen) <= SHOWN or event["event"] == "gateway-died":
                self._waiting.append(one_line(line))
            else:
                self._more = min(self._more + 1, COUNTED + 1)

    def _line(self, event: Mapping[str, Any]) -> str:
        """Return the line for an event; empty for an event that is not shown."""
        if event["event"] == "gateway-died":
            return (
                f"egress: the gateway of {self._name} died: the bottle has no network"
                f" — %bottle allow {self._name} HOST starts a new one"
            )
        if event["event"] == "egress-failed":
            return f"egress: failed {event.get('reason')}"
        if event["event"] != "egress" or event.get("verdict") != "denied":
            return ""
        where = f"{event['host']}:{event['port']}" if "host" in event else "a request"
        advice = self._advice(event)
        return f"egress: denied {where} ({event.get('rule')})" + (f" — {advice}" if advice else "")

    def _advice(self, event: Mapping[str, Any]) -> str:
        rule, port = event.get("rule"), event.get("port")
        if rule in _BY_HOST and event.get("scheme") != "http" and port != 80:
            return f"%bottle allow {self._name} {event.get('host')}" + ("" if port == 443 else f":{port}")
        return f"%bottle egress {self._name} --suggest" if rule in (*_BY_HOST, *_BY_ROUTE) else ""
