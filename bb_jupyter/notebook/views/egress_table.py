"""The egress history of bottles, as tables and lines for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from bb_jupyter.gateway.audit.history import AuditRecord
from bb_jupyter.gateway.egress_plan import RoutePlan
from bb_jupyter.manifest import about_size

HEAD = ("time", "method", "host", "path", "verdict", "rule or reason", "status", "up", "down", "times")


@dataclass
class Folded:
    """Requests that differ only in time and size: one row of the table.

    Attributes:
        record: the latest of them.
        times: how many there were.
        up: bytes sent to the server by all of them.
        down: bytes sent to the bottle.
    """

    record: AuditRecord
    times: int = 0
    up: int = 0
    down: int = 0

    def add(self, record: AuditRecord) -> None:
        """Count one more."""
        self.record = record
        self.times += 1
        self.up += record.up
        self.down += record.down

    def cells(self) -> list[str]:
        """Return its cells, in the order of `HEAD`."""
        record = self.record
        why = (record.reason if record.verdict == "failed" else record.rule) or record.reason
        return [
            datetime.fromtimestamp(record.time).strftime("%H:%M:%S"),
            record.method,
            f"{record.host}:{record.port}" if record.port else record.host,
            record.path,
            record.verdict,
            why,
            str(record.status or ""),
            about_size(self.up) if self.up else "",
            about_size(self.down) if self.down else "",
            str(self.times),
        ]


def folded(records: Iterable[AuditRecord]) -> list[Folded]:
    """Fold requests that differ only in time and size, in the order of the latest of each kind."""
    rows: dict[tuple[object, ...], Folded] = {}
    for record in records:
        key = (
            *(record.method, record.host, record.port, record.path),
            *(record.verdict, record.rule, record.reason, record.status),
        )
        row = rows.pop(key, None) or Folded(record)
        rows[key] = row  # at the end again
        row.add(record)
    return [*rows.values()]


def policy_line(generation: int, routes: Sequence[RoutePlan]) -> str:
    """Return the policy in force in one line."""
    return f"policy {generation}: {', '.join(map(str, routes)) or 'nothing (every request is refused)'}"
