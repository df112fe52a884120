"""A bottle's network: its gateway, the policy in force, and what commands need to know to go through it.

A bottle without routes has no gateway, and so no network at all; the first route that is allowed starts one.
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

#: What `ls` says of a bottle whose gateway died: nothing is reachable from it.
NO_GATEWAY = "no gateway"
#: Starts a bottle's gateway: takes its configuration and what to call with each event.
StartGateway = Callable[["GatewayConfig", Callable[["Event"], None]], "GatewayClient"]

_PROXY = f"http://egress:{PORTS['egress']}"
_DIRECT = "localhost,127.0.0.1,::1,egress,git-gate,supervise"
#: How programs find the proxy.  Node wants to be told to look.
_PROXY_ENV = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), _PROXY),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), _DIRECT),
    "NODE_USE_ENV_PROXY": "1",
}


class Network:
    """The network of one running bottle.  Thread-safe.

    Args:
        plan: what was launched.
        start: starts the gateway, as the backend does it.

    Attributes:
        events: what to call with each event of the gateway, on a thread of its own.
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
        """The policy in force; `None` when there is no network."""
        return self._routes

    @property
    def generation(self) -> int:
        """The number of the policy in force, which grows with each replacement; 0 when there is no network."""
        return self._client.generation if self._client else 0

    @property
    def state(self) -> str:
        """`none`, `open`, or `lost` when the gateway died: then nothing is reachable."""
        if self._routes is None:
            return "none"
        return "open" if self._client and self._client.alive else "lost"

    @property
    def env(self) -> dict[str, str]:
        """Variables by which commands find the gateway and trust its certificates."""
        return {} if self._routes is None else {**_PROXY_ENV, **provisioning.ca_env(self._plan.guest_home)}

    @property
    def ca_pem(self) -> str:
        """The certificate, in PEM, that programs in the bottle must trust; empty when there is no gateway."""
        return self._client.ca_pem if self._client else ""

    def open(self, routes: EgressPlan) -> None:
        """Start the gateway, or a new one after the other died.

        Args:
            routes: what the bottle may reach.

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
            if self._routes is not None:  # there was one before, and `ls` says that it died
                state.add_details(self._plan.slug, state=state.RUNNING)
            self._in_force(self._client, routes)

    def adopt(self, find: Callable[[Callable[[Event], None]], GatewayClient | None], routes: EgressPlan) -> None:
        """Take over a gateway that runs already, as after an attach.

        Args:
            find: returns it, given what to call with each event; `None` when it died meanwhile.
            routes: the policy in force.
        """
        with self._lock:
            self._client, self._routes = find(self._on_event), routes

    def replace(self, routes: EgressPlan) -> int:
        """Replace the whole policy of a gateway that runs.

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
        """Remember the policy, for who attaches as well, and tell the audit log: its events name only a generation."""
        self._routes = routes
        if self._plan.spec.keep:
            state.add_details(self._plan.slug, egress=asdict(routes))
        client.record("routes", routes=[asdict(route) for route in routes.routes])

    def limit_egress(self, most: int) -> None:
        """Let the bottle exchange at most *most* bytes from now on, until its gateway ends."""
        if self._client is not None:
            self._client.limit_egress(most)

    def shut(self, reason: str) -> None:
        """Let nothing pass any more, such as when a budget is used up; *reason* is what the bottle is told."""
        if self._client is not None:
            self._client.shut(reason)

    def sync(self) -> int:
        """Wait (1 s at most) until `events` have had everything that was decided so far.

        Returns:
            How many bytes have passed since the gateway started, both directions together.
        """
        return self._client.sync() if self._client is not None else 0

    def close(self) -> None:
        """End the gateway, if there is one.  Idempotent."""
        with self._lock:
            client, self._client, self._routes = self._client, None, None
        if client is not None:
            client.stop()

    def release(self) -> None:
        """Let go of a gateway that outlives this process.  Idempotent."""
        with self._lock:
            if self._client is not None:
                self._client.detach()

    def _on_event(self, event: Event) -> None:
        if event.get("event") == "gateway-died":
            with contextlib.suppress(OSError):
                state.add_details(self._plan.slug, state=NO_GATEWAY)
        for hear in [*self.events]:
            hear(event)
