"""The routes of a bottle's gateway, planned before it starts; the preflight shows them.

This module runs on the host and is the only one of the package that reads manifests.  A plan holds no secret, only the
place where each is kept.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bb_jupyter.errors import ManifestError
from bb_jupyter.gateway.control.gateway_config import DEFAULT_LIMITS, GatewayConfig, GatewayLimits
from bb_jupyter.policy.hosts import specificity
from bb_jupyter.policy.routes import AuthConfig, RouteConfig, RouteRule, routes_from_json, routes_to_json

if TYPE_CHECKING:
    from bb_jupyter.manifest import Route

FORGES: Final = ("github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "git.sr.ht", "dev.azure.com")
"""Well-known git servers."""


@dataclass(frozen=True)
class RoutePlan(RouteRule):
    """A route as declared, who declared it, and where its credential is kept; never the credential.

    Attributes:
        auth_scheme: ``bearer``, ``basic`` or ``header``; empty for no credential.
        auth_header: header that carries it.
        auth_username: user name, for ``basic``.
        token_ref: environment variable or file of the host where the credential is.
        ca: file with one more trusted CA.
        source: ``manifest``, ``provider`` or ``allowed`` (by hand).
    """

    auth_scheme: str = ""
    auth_header: str = "Authorization"
    auth_username: str = ""
    token_ref: str = ""
    ca: str = ""
    source: str = "manifest"

    @classmethod
    def from_route(cls, route: Route, source: str = "manifest") -> RoutePlan:
        """Plan a manifest's route."""
        auth = route.auth
        return cls(
            host=route.host,
            port=route.effective_port,
            scheme=route.scheme,
            methods=route.methods or (),
            paths=route.paths or (),
            auth_scheme=auth.scheme if auth else "",
            auth_header=(auth.header if auth else None) or "Authorization",
            auth_username=(auth.username if auth else None) or "",
            token_ref=auth.token_ref if auth else "",
            resolve=route.resolve or "",
            ca=route.ca or "",
            source=source,
        )

    def __str__(self) -> str:
        notes = [
            " ".join(self.methods),
            " ".join(self.paths),
            f"credential {self.token_ref}" if self.auth_scheme else "",
            f"dials {self.resolve}" if self.resolve else "",
            f"trusts {self.ca}" if self.ca else "",
            "no git" if self.inspect else "",
            f"from the {self.source}" if self.source == "provider" else "",
        ]
        shown = "; ".join(note for note in notes if note)
        return f"{self.url} ({shown})" if shown else self.url


@dataclass(frozen=True)
class EgressPlan:
    """All routes of a bottle; none means that the gateway is there and refuses everything.

    Attributes:
        routes: what may be reached.
        git_hosts: git servers; the gateway inspects requests to them and refuses git, which the git gate serves.
    """

    routes: tuple[RoutePlan, ...] = ()
    git_hosts: tuple[str, ...] = FORGES

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> EgressPlan:
        """Build a plan from what `dataclasses.asdict` made of one, also after JSON turned tuples into lists."""
        routes = (
            {**route, "methods": tuple(route["methods"]), "paths": tuple(route["paths"])} for route in data["routes"]
        )
        return cls(tuple(RoutePlan(**route) for route in routes), tuple(data["git_hosts"]))

    def summary(self) -> str:
        """Return the routes in one line, for the preflight."""
        return ", ".join(map(str, self.routes)) or "nothing (every request is refused)"

    def allowing(self, *routes: RoutePlan) -> EgressPlan:
        """Return a plan with *routes* before the others; a route that the plan has already is not repeated."""
        judged = [self._without_git(route) for route in routes]
        return replace(self, routes=(*(route for route in judged if route not in self.routes), *self.routes))

    def _without_git(self, route: RoutePlan) -> RoutePlan:
        """Return the route, to be inspected if it covers a git server."""
        covers = any(specificity(route.host, host) for host in self.git_hosts)
        return replace(route, inspect=True) if covers and route.scheme == "https" else route

    @property
    def token_refs(self) -> tuple[str, ...]:
        """The places where the credentials of these routes are kept, each once."""
        return tuple(dict.fromkeys(route.token_ref for route in self.routes if route.token_ref))


def egress_plan(
    manifest: Iterable[Route] = (),
    *,
    provider: Iterable[Route] = (),
    allowed: Iterable[Route] = (),
    git_hosts: Iterable[str] = (),
) -> EgressPlan:
    """Put together what a bottle may reach.

    Args:
        manifest: routes of the bottle's manifest.
        provider: routes that the agent's provider brings; a manifest's route for the same host replaces them.
        allowed: routes that the user named by hand, which add to the others.
        git_hosts: hosts of the bottle's repositories.  The gateway inspects requests to them and to well-known
            forges, and refuses git there: git goes through the git gate only.

    Returns:
        The plan; nothing is resolved or read yet.
    """
    own = [RoutePlan.from_route(route) for route in manifest]
    hosts = {route.host for route in own}
    brought = [RoutePlan.from_route(route, "provider") for route in provider if route.host not in hosts]
    by_hand = [RoutePlan.from_route(route, "allowed") for route in allowed]
    return EgressPlan(git_hosts=(*FORGES, *git_hosts)).allowing(*own, *brought).allowing(*by_hand)


def route_configs(plan: EgressPlan, resolve_token: Callable[[str], str]) -> tuple[RouteConfig, ...]:
    """Turn planned routes into the gateway's, **with their secrets**.

    Args:
        plan: the routes.
        resolve_token: gives the value for a ``token_ref`` (`bb_jupyter.manifest.resolve_token`).

    Returns:
        Checked routes, ready for `GatewayConfig` or `GatewayClient.replace_policy`.

    Raises:
        ManifestError: a credential is unset or empty, a CA file cannot be read, a path pattern is ambiguous.
    """
    built = (_route_config(route, resolve_token) for route in plan.routes)
    return routes_from_json(routes_to_json(built))


def _route_config(route: RoutePlan, resolve_token: Callable[[str], str]) -> RouteConfig:
    auth = None
    if route.auth_scheme:
        token = resolve_token(route.token_ref)
        if not token:
            raise ManifestError("is empty", key=f"egress.routes[{route.host}].auth.token_ref", hint=route.token_ref)
        auth = AuthConfig(route.auth_scheme, token, route.auth_header, route.auth_username)
    rule = {field.name: getattr(route, field.name) for field in fields(RouteRule)}
    return RouteConfig(**rule, auth=auth, ca_pem=_read_ca(route) if route.ca else None)


def _read_ca(route: RoutePlan) -> str:
    try:
        pem = Path(route.ca).read_text(encoding="ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
        return pem
    except (ssl.SSLError, ValueError):
        why = "it is no certificate in PEM"
    except OSError as error:
        why = error.strerror or "it cannot be read"
    raise ManifestError(f"cannot read the CA {route.ca}: {why}", key=f"egress.routes[{route.host}].ca")


def gateway_config(
    plan: EgressPlan,
    *,
    slug: str,
    name: str,
    resolve_token: Callable[[str], str],
    keep: bool = False,
    limits: GatewayLimits = DEFAULT_LIMITS,
) -> GatewayConfig:
    """Turn a plan into what is sent to the gateway, **with the secrets**.

    Args:
        plan: what the bottle may reach.
        slug: the bottle's slug.
        name: what the user calls the bottle.
        resolve_token: gives the value for a ``token_ref``.
        keep: the gateway outlives its owner.
        limits: bounds.

    Raises:
        ManifestError: see `route_configs`.
    """
    return GatewayConfig(slug, name, route_configs(plan, resolve_token), keep=keep, limits=limits)


def host_trust_pem() -> str:
    """Return the CA bundle that this host trusts (``SSL_CERT_FILE`` or OpenSSL's default), for a gateway elsewhere.

    Returns:
        PEM text; empty when there is no such file.
    """
    paths = ssl.get_default_verify_paths()
    for path in (os.environ.get("SSL_CERT_FILE"), paths.cafile, "/etc/ssl/certs/ca-certificates.crt"):
        if path and Path(path).is_file():
            return Path(path).read_text(encoding="utf-8", errors="ignore")
    return ""
