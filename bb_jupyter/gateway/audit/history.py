"""The history of a bottle: its audit events, with those of one connection or request joined into one record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from bb_jupyter.gateway.audit import audit_log
from bb_jupyter.gateway.egress_plan import EgressPlan, RoutePlan

_END: Final = "egress-end"
_REQUESTS: Final = frozenset({"egress", "egress-failed"})


@dataclass(slots=True)
class AuditRecord:
    """One row of a bottle's history.

    Attributes:
        time: when it began, seconds since the epoch.
        bottle: the bottle's slug.
        event: ``egress`` for a request or a tunnel, or the audit event's own name, such as ``policy``.
        verdict: ``allowed``, ``denied``, or ``failed`` when it was allowed and the server could not be reached, not be
            trusted, or broke off; empty for events that are no request.
        method: of the request; ``CONNECT`` for a tunnel.
        scheme: ``https`` or ``http``; empty when the client had not named it yet.
        host: canonical host name.
        port: TCP port; 0 when unknown.
        path: of the request, without its query; empty for a tunnel, whose requests are encrypted.
        rule: the route that allowed it, or the rule that denied it.
        reason: why it was denied or failed.
        mode: ``tunnel`` or ``intercept``; empty when nothing passed.
        injected: a credential was put in.
        status: of the answer; 0 for none.
        up: bytes sent to the server.
        down: bytes sent to the bottle.
        seconds: how long it took; ``None`` while it goes on.
        generation: number of the policy that was in force.
    """

    time: float
    bottle: str
    event: str
    verdict: str = ""
    method: str = ""
    scheme: str = ""
    host: str = ""
    port: int = 0
    path: str = ""
    rule: str = ""
    reason: str = ""
    mode: str = ""
    injected: bool = False
    status: int = 0
    up: int = 0
    down: int = 0
    seconds: float | None = None
    generation: int = 0

    @property
    def is_request(self) -> bool:
        """Whether it is a request or a tunnel."""
        return self.event == "egress"


COLUMNS: Final = tuple(field.name for field in fields(AuditRecord))
"""Names of a record's fields, in order."""
_TAKEN: Final = frozenset(COLUMNS) - {"time", "bottle", "event"}


def history(slug: str) -> list[AuditRecord]:
    """Return everything that one bottle did, oldest first; nothing when there is no log of it."""
    return [*_joined(audit_log.read_slug(slug), slug)]


def _joined(events: Iterable[Mapping[str, Any]], slug: str) -> Iterator[AuditRecord]:
    """Join the events of a flow (beginning, refusal or failure, end) into one record."""
    flows: dict[int, AuditRecord] = {}
    for event in events:
        kind, flow = str(event.get("event")), flows.get(event.get("flow", 0))
        if kind == "ready":
            flows.clear()  # a new gateway numbers its flows from 1 again
        if flow is not None and (kind == _END or kind in _REQUESTS):
            _add(flow, event)
        elif kind != _END:
            record = _record(event, slug)
            if event.get("flow"):
                flows[event["flow"]] = record
            yield record


def _record(event: Mapping[str, Any], slug: str) -> AuditRecord:
    kind = str(event.get("event"))
    is_request = kind in _REQUESTS
    record = AuditRecord(float(event.get("time") or 0), slug, "egress" if is_request else kind)
    for name in _TAKEN & event.keys():
        setattr(record, name, event[name])
    if kind == "egress-failed":
        record.verdict = "failed"
    if record.mode == "tunnel":
        record.method = "CONNECT"
    if kind == "routes":
        record.reason = ", ".join(map(str, _routes(event)))
    return record


def _add(flow: AuditRecord, event: Mapping[str, Any]) -> None:
    """Update a flow's record from a later event."""
    if event.get("event") == _END:
        flow.up, flow.down, flow.seconds = event.get("up", 0), event.get("down", 0), event.get("seconds")
        flow.status = event.get("status", 0)
        if error := event.get("error"):
            flow.verdict, flow.reason = "failed", str(error)
    else:
        flow.verdict = str(event.get("verdict") or "failed")
        flow.rule, flow.reason = str(event.get("rule") or flow.rule), str(event.get("reason", ""))


def last_policy(slug: str) -> tuple[int, tuple[RoutePlan, ...]]:
    """Return the generation and the routes that were in force last; ``(0, ())`` when none were."""
    found: tuple[int, tuple[RoutePlan, ...]] = (0, ())
    for event in audit_log.read_slug(slug):
        if event.get("event") == "routes":
            found = (int(event.get("generation", 0)), _routes(event))
    return found


def _routes(event: Mapping[str, Any]) -> tuple[RoutePlan, ...]:
    return EgressPlan.from_dict({"routes": event["routes"], "git_hosts": ()}).routes
