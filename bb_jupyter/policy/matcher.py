"""Matches connections and requests against the routes of a policy: default deny, replaced as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bb_jupyter.policy import Denied
from bb_jupyter.policy.hosts import specificity
from bb_jupyter.policy.paths import canonical_path, is_git, path_matches, split_target
from bb_jupyter.policy.routes import RouteConfig

# An agent can ask for any number of hosts under a wildcard.
_MOST_REMEMBERED: Final = 1024


@dataclass(frozen=True, slots=True)
class Policy:
    """All routes of one bottle.

    Among the routes for a scheme and port, the most specific host pattern decides alone: an exact name before a
    wildcard, a longer suffix before a shorter one, so that a narrow route is never widened by a broad one.  Of several
    routes for that pattern, the first one whose methods and paths fit is taken.

    Attributes:
        routes: what is allowed, in the manifest's order.
        generation: grows with each replacement.
        closed: why nothing is allowed any more, such as a budget that is used up; empty: the routes decide.
    """

    routes: tuple[RouteConfig, ...] = ()
    generation: int = 1
    closed: str = ""
    _decided: dict[tuple[str, int, str | None], tuple[RouteConfig, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def candidates(self, host: str, port: int, scheme: str | None = None) -> tuple[RouteConfig, ...]:
        """Return the routes that decide about a canonical host and port; empty when nothing allows it.

        Args:
            host: canonical host name.
            port: TCP port.
            scheme: ``https`` or ``http``; ``None`` (CONNECT does not say) prefers https.
        """
        if self.closed:
            return ()
        key = (host, port, scheme)
        if key not in self._decided:
            found = self._candidates(*key)
            if not found or len(self._decided) >= _MOST_REMEMBERED:
                return found
            self._decided[key] = found
        return self._decided[key]

    def _candidates(self, host: str, port: int, scheme: str | None) -> tuple[RouteConfig, ...]:
        for wanted in (scheme,) if scheme else ("https", "http"):
            rated = [
                (specificity(route.host, host), route)
                for route in self.routes
                if route.port == port and route.scheme == wanted
            ]
            best = max((rate for rate, _ in rated), default=0)
            if best:
                return tuple(route for rate, route in rated if rate == best)
        return ()

    def has_credential(self, host: str) -> bool:
        """Say whether some route puts a credential in for a canonical host, which may show it on any other."""
        return any(route.auth and specificity(route.host, host) for route in self.routes)

    def connect(self, host: str, port: int, scheme: str | None = None) -> tuple[RouteConfig, ...]:
        """Return the routes that decide about a connection.

        Raises:
            Denied: rule ``no-route``, ``port``, ``scheme`` or ``budget``.
        """
        if self.closed:
            raise Denied("budget", self.closed)
        found = self.candidates(host, port, scheme)
        if found:
            return found
        known = [route for route in self.routes if specificity(route.host, host)]
        hint = f"%bottle allow {{name}} {host}" + ("" if port in (80, 443) else f":{port}")
        if known and (scheme == "http" or port == 80):  # by hand one can allow https alone
            hint = f"use https://{host}, or a route with `scheme: http` in the bottle's manifest"
        if not known:
            raise Denied("no-route", f"{host} is not in this bottle's routes", hint=hint)
        if any(route.port == port for route in known):
            raise Denied("scheme", f"{host}:{port} is not allowed over {scheme or 'this scheme'}", hint=hint)
        raise Denied("port", f"{host} is allowed, but not port {port}", hint=hint)

    def request(self, scheme: str, host: str, port: int, method: str, target: str) -> RouteConfig:
        """Return the route that allows one request.

        Args:
            scheme: ``https`` or ``http``.
            host: canonical host name.
            port: TCP port.
            method: as sent; methods are case-sensitive (RFC 9110, 9.1).
            target: origin-form request target, raw.

        Raises:
            Denied: rule ``no-route``, ``port``, ``scheme``, ``method``, ``path``, ``path-ambiguous`` or
                ``request-form``.
        """
        routes = self.connect(host, port, scheme)
        raw, _ = split_target(target)
        if not raw:
            raise Denied("request-form", "the request target must be a path that begins with /", status=400)
        if method in ("CONNECT", "TRACE"):
            raise Denied("method", f"{method} is never allowed on {host}")
        by_method = [route for route in routes if not route.methods or method in route.methods]
        if not by_method:
            allowed = ", ".join(sorted({m for route in routes for m in route.methods}))
            raise Denied("method", f"this method is not allowed on {host} (allowed: {allowed})")
        path = canonical_path(raw)
        for route in by_method:
            if not route.paths or (path is not None and any(path_matches(p, path) for p in route.path_patterns)):
                return route
        if path is None:
            raise Denied("path-ambiguous", f"the path can be read in two ways, and {host} is limited by path")
        raise Denied("path", f"this path is not allowed on {host}", hint="add it to the route's `paths`")


def refuse_git(target: str, content_type: str) -> None:
    """Keep git's smart HTTP out of the egress proxy: pushes and fetches go through the git gate.

    Raises:
        Denied: rule ``git``.
    """
    raw, query = split_target(target)
    if is_git(raw, query, content_type):
        raise Denied("git", "git does not go through the egress proxy", hint="declare the repository under `git-gate`")
