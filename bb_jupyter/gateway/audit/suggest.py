"""Suggests routes: the fewest that allow what a bottle was denied and keep what it used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bb_jupyter.gateway.egress_plan import RoutePlan
from bb_jupyter.policy import Denied
from bb_jupyter.policy.hosts import normalise_host, specificity

_MENDABLE: Final = frozenset({"no-route", "port", "scheme", "method", "path"})
"""Denials that a route can lift; no route should lift the others (addresses, mismatched names, git)."""


def suggest(events: Iterable[Mapping[str, Any]], routes: Sequence[RoutePlan] = ()) -> str:
    """Write a manifest's ``egress`` that fits what a bottle did.

    Hosts are named one by one, never by wildcard; a route that was limited by method or path is widened by exactly
    what was denied; routes that were never used are left out.

    Args:
        events: the bottle's audit events.
        routes: the routes that were in force, whose credentials and limits are kept.

    Returns:
        YAML text, ready to paste into a manifest's frontmatter.
    """
    import yaml

    wanted: dict[tuple[str, str, int], dict[str, Any]] = {}
    for event in events:
        if event.get("event") in ("egress", "egress-failed"):  # what failed was allowed
            _consider(event, routes, wanted)
    entries = [wanted[key] for key in sorted(wanted)]
    if not entries:
        return "egress:\n  routes: []\n"
    return yaml.safe_dump({"egress": {"routes": entries}}, sort_keys=False, allow_unicode=False, width=120)


def _consider(
    event: Mapping[str, Any], routes: Sequence[RoutePlan], wanted: dict[tuple[str, str, int], dict[str, Any]]
) -> None:
    """Take one decision into account."""
    denied = event.get("verdict") == "denied"
    place = _place(event)
    if place is None or (denied and event.get("rule") not in _MENDABLE):
        return
    route = _route_for(place, routes)
    key = (place[0], place[1], place[2]) if route is None else (route.host, route.scheme, route.port)
    entry = wanted.setdefault(key, _entry(route) if route else _new_entry(*place))
    if denied and route is not None:
        _widen(entry, event)


def _place(event: Mapping[str, Any]) -> tuple[str, str, int] | None:
    """Return (host, scheme, port) of an event, or ``None`` when it names no usable host."""
    try:
        host, port = normalise_host(str(event.get("host", ""))), int(event.get("port") or 0)
    except (Denied, ValueError):
        return None
    # A refused CONNECT does not say what would have been spoken; port 80 is plain HTTP.
    scheme = str(event.get("scheme") or ("http" if port == 80 else "https"))
    return (host, scheme, port) if port and scheme in ("http", "https") else None


def _route_for(place: tuple[str, str, int], routes: Sequence[RoutePlan]) -> RoutePlan | None:
    host, scheme, port = place
    fitting = [r for r in routes if (r.scheme, r.port) == (scheme, port) and specificity(r.host, host)]
    return max(fitting, key=lambda r: specificity(r.host, host), default=None)


def _new_entry(host: str, scheme: str, port: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"host": host}
    if scheme == "http":
        entry["scheme"] = "http"
    if port != (443 if scheme == "https" else 80):
        entry["port"] = port
    return entry


def _entry(route: RoutePlan) -> dict[str, Any]:
    """Write a route as its manifest would."""
    entry = _new_entry(route.host, route.scheme, route.port)
    if route.methods:
        entry["methods"] = [*route.methods]
    if route.paths:
        entry["paths"] = [*route.paths]
    if route.auth_scheme:
        auth = {"scheme": route.auth_scheme}
        if route.auth_scheme == "header":
            auth["header"] = route.auth_header
        if route.auth_username:
            auth["username"] = route.auth_username
        entry["auth"] = {**auth, "token_ref": route.token_ref}
    return entry | {key: value for key, value in (("resolve", route.resolve), ("ca", route.ca)) if value}


def _widen(entry: dict[str, Any], event: Mapping[str, Any]) -> None:
    """Add a denied method or path to a route that is limited by such."""
    path = event.get("path")
    # As a pattern these would allow far more than the one request that was denied.
    path = None if path == "/" or "*" in str(path) else path
    for limit, value in (("methods", event.get("method")), ("paths", path)):
        if limit in entry and value and value not in entry[limit] and event.get("rule") == limit[:-1]:
            entry[limit].append(str(value))
