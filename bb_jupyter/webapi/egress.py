"""What a bottle asked its gateway for, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bb_jupyter.gateway.audit.history import AuditRecord, history, last_policy

#: Most requests to tell: the latest.
MOST = 200
#: Refusals that one more host lifts.
_BY_HOST = ("no-route", "port")


def requests(slug: str) -> Mapping[str, Any]:
    """Return the latest requests, oldest first, and the policy in force.

    A request that another host in the policy would have let through names that host as `allow`.
    """
    records = [record for record in history(slug) if record.is_request]
    generation, routes = last_policy(slug)
    return {
        "generation": generation,
        "routes": [str(route) for route in routes],
        "left_out": max(0, len(records) - MOST),
        "requests": [_row(record) for record in records[-MOST:]],
    }


def _row(record: AuditRecord) -> Mapping[str, Any]:
    return {
        "time": record.time,
        "method": record.method,
        "host": record.host,
        "port": record.port,
        "path": record.path,
        "verdict": record.verdict,
        "why": (record.reason if record.verdict == "failed" else record.rule) or record.reason,
        "status": record.status,
        "up": record.up,
        "down": record.down,
        "allow": _allow(record),
    }


def _allow(record: AuditRecord) -> str:
    if record.verdict != "denied" or record.rule not in _BY_HOST or not record.host or not record.port:
        return ""
    if record.scheme == "http" or record.port == 80:
        return ""
    return record.host if record.port == 443 else f"{record.host}:{record.port}"
