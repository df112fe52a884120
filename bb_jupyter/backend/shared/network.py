"""A bottle's network: its gateway, the policy in force, and the variables by which commands use it.

A bottle without routes has no gateway and so no network at all; the first route that is allowed starts one.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from bb_jupyter.agent import provisioning
from bb_jupyter.agent.credentials import resolve_token
from bb_jupyter.backend import state
from bb_jupyter.gateway import PORTS

if TYPE_CHECKING:
    from bb_jupyter.backend.plan import BottlePlan
    from bb_jupyter.gateway.control.gateway_client import Event, GatewayClient
    from bb_jupyter.gateway.control.gateway_config import GatewayConfig
    from bb_jupyter.gateway.egress_plan import EgressPlan

#: State of a bottle whose gateway died: it reaches nothing.
NO_GATEWAY = "no gateway"
#: Starts a bottle's gateway, given its configuration and a function to call with each event.
StartGateway = Callable[["GatewayConfig", Callable[["Event"], None]], "GatewayClient"]

_PROXY = f"http://egress:{PORTS['egress']}"
_DIRECT = "localhost,127.0.0.1,::1,egress,git-gate,supervise"
#: Variables by which programs find the proxy; Node reads them only with the last one.
_PROXY_ENV = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), _PROXY),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), _DIRECT),
    "NODE_USE_ENV_PROXY": "1",
}


class Network:
    """The network of one running bottle.  Thread-safe.

    Args:
        plan: the plan of the bottle.
        start: the backend's function that starts the gateway.

    Attributes:
        events: functions that are called with each event of the gateway, on a thread of its own.
    """

    def __init__(self, plan: BottlePlan, start: StartGateway) -> None:
        self._plan = plan
        self._start = start
        self._lock = threading.Lock()
        self._client: GatewayClient | None = None
        self._routes: EgressPlan | None = None
        self.events: list[Callable[[Event], None]] = []

    @property
    def routes(self) -> EgressPlan | None:
        """The policy in force; `None` if there is no network."""
        return self._routes

    @property
    def generation(self) -> int:
        """The number of the policy in force, which each replacement increases; 0 if there is no network."""
        return self._client.generation if self._client else 0

    @property
    def state(self) -> str:
        """`none`, `open`, or `lost` if the gateway died: then the bottle reaches nothing."""
        if self._routes is None:
            return "none"
        return "open" if self._client and self._client.alive else "lost"

    @property
    def env(self) -> dict[str, str]:
        """Variables by which commands find the gateway and trust its certificates."""
        return {} if self._routes is None else {**_PROXY_ENV, **provisioning.ca_env(self._plan.guest_home)}

    @property
    def ca_pem(self) -> str:
        """The certificate, in PEM, that programs in the bottle must trust; empty if there is no gateway."""
        return self._client.ca_pem if self._client else ""

    def open(self, routes: EgressPlan) -> None:
        """Start the gateway, or a new one if it died.

        Args:
            routes: the policy.

        Raises:
            BackendUnavailable: it did not start.
            ManifestError: a credential is unset, or the gateway refused a route.
        """
        from bb_jupyter.gateway.egress_plan import gateway_config

        spec = self._plan.spec
        config = gateway_config(
            routes, slug=self._plan.slug, name=spec.name, resolve_token=resolve_token, keep=spec.keep
        )
        with self._lock:
            if self._client is not None:
                config = replace(config, generation=self._client.generation + 1)
                self._client.stop()
            self._client = self._start(config, self._on_event)
            if self._routes is not None:  # a gateway died before, and the record says so
                state.add_details(self._plan.slug, state=state.RUNNING)
            self._in_force(self._client, routes)

    def adopt(self, find: Callable[[Callable[[Event], None]], GatewayClient | None], routes: EgressPlan) -> None:
        """Take over a gateway that runs already, as after an attach.

        Args:
            find: returns its client, given a function to call with each event; `None` if the gateway died.
            routes: the policy in force.
        """
        with self._lock:
            self._client, self._routes = find(self._on_event), routes

    def replace(self, routes: EgressPlan) -> int:
        """Replace the whole policy of the running gateway.

        Returns:
            The new policy's generation.

        Raises:
            ManifestError: the policy is refused; the old one stays in force.
            BottleGone: the gateway died.
        """
        from bb_jupyter.gateway.egress_plan import route_configs

        with self._lock:
            if self._client is None:
                raise RuntimeError("there is no gateway yet")
            generation = self._client.replace_policy(route_configs(routes, resolve_token))
            self._in_force(self._client, routes)
            return generation

    def _in_force(self, client: GatewayClient, routes: EgressPlan) -> None:
        """Record the policy for a later attach and in the audit log, whose events name only the generation."""
        self._routes = routes
        if self._plan.spec.keep:
            state.add_details(self._plan.slug, egress=asdict(routes))
        client.record("routes", routes=[asdict(route) for route in routes.routes])

    def limit_egress(self, most: int) -> None:
        """Limit the traffic of the bottle to *most* bytes from now until its gateway ends."""
        if self._client is not None:
            self._client.limit_egress(most)

    def shut(self, reason: str) -> None:
        """Deny all traffic from now on, such as when a budget is used up; denials give *reason*."""
        if self._client is not None:
            self._client.shut(reason)

    def sync(self) -> int:
        """Wait (1 s at most) until `events` have been called for every decision so far.

        Returns:
            Bytes in both directions since the gateway started.
        """
        return self._client.sync() if self._client is not None else 0

    def close(self) -> None:
        """Stop the gateway, if there is one.  Idempotent."""
        with self._lock:
            client, self._client, self._routes = self._client, None, None
        if client is not None:
            client.stop()

    def release(self) -> None:
        """Disconnect from the gateway, which outlives this process.  Idempotent."""
        with self._lock:
            if self._client is not None:
                self._client.detach()

    def _on_event(self, event: Event) -> None:
        if event.get("event") == "gateway-died":
            with contextlib.suppress(OSError):
                state.add_details(self._plan.slug, state=NO_GATEWAY)
        for hear in [*self.events]:
            hear(event)
