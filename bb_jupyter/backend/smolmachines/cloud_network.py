"""Translate routes to what the smol cloud enforces: hosts that a machine may reach, and credentials bound to hosts.

The cloud filters by host name (with all subdomains) and does not inspect requests.  A route that needs inspection
fails the launch.  The SDK itself refuses credentials with methods there ("enforced on the local target only").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from bb_jupyter.agent.provision_plan import PLACEHOLDER
from bb_jupyter.backend.plan import PlanBasis
from bb_jupyter.backend.shared.labels import tenant_id
from bb_jupyter.backend.smolmachines.bottle_plan import CredentialPlan
from bb_jupyter.errors import UsageError
from bb_jupyter.gateway.egress_plan import RoutePlan

_ELSEWHERE = "use --backend docker, or this backend's local target (BOT_BOTTLE_SMOL_TARGET=local)"


@dataclass(frozen=True)
class CloudNetwork:
    """The network settings of a cloud machine.

    Attributes:
        allow_hosts: hosts that the machine may reach, with their subdomains.
        credentials: credentials that the cloud puts into requests.
        warnings: differences from the routes, for the preflight.
    """

    allow_hosts: tuple[str, ...] = ()
    credentials: tuple[CredentialPlan, ...] = ()
    warnings: tuple[str, ...] = ()


def plan_cloud_network(basis: PlanBasis) -> CloudNetwork:
    """Translate a bottle's routes.

    Raises:
        UsageError: the cloud cannot enforce a route; the message names it and what to change.
    """
    if basis.git_gate_plan is not None:
        raise _cannot("git gate (`git-gate.repos`): the gate runs on this host, where no cloud machine gets")
    if basis.supervise_plan is not None:
        raise _cannot("supervision (`supervise: true`): it runs on this host, where no cloud machine gets")
    if basis.egress_plan is None:
        return CloudNetwork()
    routes = basis.egress_plan.routes
    for route in routes:
        for reason in _reasons(route):
            raise _cannot(reason)
    wide = "in the cloud these hosts are open with all subdomains and ports, and requests are not recorded"
    return CloudNetwork(
        allow_hosts=tuple(dict.fromkeys(route.host.removeprefix("*.") for route in routes)),
        credentials=tuple(_credential(route, basis) for route in routes if route.auth_scheme),
        warnings=(wide,),
    )


def _reasons(route: RoutePlan) -> Iterator[str]:
    """Yield the parts of a route that the cloud cannot enforce."""
    where = f"route {route.host}"
    if route.paths:
        yield f"{where}: its `paths`; leave them out to open the whole host"
    if route.methods:
        yield f"{where}: its `methods`; leave them out to allow every method"
    if route.resolve or route.ca:
        yield f"{where}: its `resolve` and `ca`, which are this host's"
    if route.inspect:
        yield f"{where}: it is a git server, and pushes there could not be refused"
    if route.auth_scheme and route.scheme != "https":
        yield f"{where}: its credential goes over https only"
    if route.auth_scheme and route.host.startswith("*."):
        yield f"{where}: its credential needs an exact host; name each host"
    if route.auth_scheme == "basic":
        yield f"{where}: `auth.scheme: basic`; the cloud puts in a bearer token or a header's value"


def _credential(route: RoutePlan, basis: PlanBasis) -> CredentialPlan:
    """Bind a route's credential to the variable that the agent or the user's program reads."""
    agent = basis.agent_provision
    of_agent = [name for name, value in (agent.env if agent else {}).items() if value == PLACEHOLDER]
    env_var = of_agent[0] if route.source == "provider" and of_agent else route.token_ref
    if not (env_var.isascii() and env_var.isidentifier()):
        raise _cannot(f"route {route.host}: token_ref '{route.token_ref}' is no name that a variable could have there")
    # The same name for the same secret and host: the account stores it, and the SDK cannot remove it.
    identity = hashlib.sha256(f"{tenant_id()}\0{route.token_ref}\0{route.host}".encode()).hexdigest()[:24]
    return CredentialPlan(f"bb-{identity}", env_var, route.host, route.token_ref)


def _cannot(what: str) -> UsageError:
    return UsageError(f"the smol cloud cannot enforce {what}", hint=f"Change the bottle's manifest, or {_ELSEWHERE}.")
