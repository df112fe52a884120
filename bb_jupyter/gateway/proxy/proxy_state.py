"""The state that all parts of one gateway's proxy share."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aiohttp import web
from yarl import URL

from bb_jupyter.errors import ManifestError
from bb_jupyter.gateway.control.gateway_config import GatewayConfig
from bb_jupyter.gateway.control.gateway_events import Events
from bb_jupyter.gateway.proxy.ca import LeafAuthority
from bb_jupyter.gateway.proxy.flows import Flows
from bb_jupyter.gateway.proxy.redact import Masker
from bb_jupyter.gateway.proxy.upstream import Upstreams
from bb_jupyter.policy import Denied
from bb_jupyter.policy.matcher import Policy
from bb_jupyter.policy.routes import RouteConfig


@dataclass(frozen=True, slots=True)
class Origin:
    """The server that a connection is for: scheme, canonical host and port."""

    scheme: str
    host: str
    port: int

    def facts(self) -> dict[str, object]:
        """Return the fields of this origin in an event."""
        return {"scheme": self.scheme, "host": self.host, "port": self.port}

    def url(self, target: str) -> URL:
        """Return the URL of a raw request target.  Never use its `host`, which decodes punycode."""
        return URL(f"{self.scheme}://{self}{target}", encoded=True)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class ProxyState:
    """State of one gateway: its policy, and what enforces and reports it.

    Args:
        config: what the host sent.
        events: where everything is reported.
        ca: certifies intercepted hosts.

    Raises:
        ManifestError: the trust bundle or a route's CA cannot be read.
    """

    def __init__(self, config: GatewayConfig, events: Events, ca: LeafAuthority) -> None:
        self.name, self.limits, self.events = config.name, config.limits, events
        self.flows = Flows(events, config.limits)
        self.upstreams = Upstreams(config.trust_pem, config.limits, config.own)
        self.policy = Policy(generation=0)
        self.masker = Masker(())
        self.ca = ca
        self.replace_policy(config.routes, config.generation)

    def replace_policy(self, routes: tuple[RouteConfig, ...], generation: int) -> int:
        """Put a new policy in force, whole, and end the flows that it does not allow.

        Returns:
            How many flows were ended.

        Raises:
            ManifestError: a CA cannot be read or the generation is not newer; nothing has changed then.
        """
        if generation <= self.policy.generation:
            current = self.policy.generation
            raise ManifestError(f"generation {generation} is not newer than {current}", key="generation")
        try:
            self.upstreams.check(routes)
        except ValueError as error:
            raise ManifestError(str(error), key="routes") from None
        self.policy = Policy(routes, generation, self.policy.closed)
        secrets = [secret for route in routes if route.auth for secret in route.auth.secrets]
        self.masker = Masker(secrets)
        self.events.set_secrets(secrets)
        self.events.generation = generation
        return self.flows.enforce(self.policy)

    def masker_for(self, host: str) -> Masker | None:
        """Return the masker for answers of a canonical host; ``None`` where no route has a credential for it."""
        return self.masker if self.policy.has_credential(host) else None

    def limit_egress(self, most: int) -> None:
        """Allow *most* bytes in all, both directions together; the flow that exceeds them is ended with all others."""
        self.flows.limit(most, lambda: self.shut(f"the budget of {most:,} bytes is used up"))

    def shut(self, reason: str) -> None:
        """Allow nothing any more, whatever policy follows, and end every flow.  Idempotent."""
        if not self.policy.closed:
            self.policy = replace(self.policy, closed=reason)
            self.events.emit("budget", reason=reason, closed=self.flows.enforce(self.policy))

    def refuse(self, denied: Denied, **facts: object) -> web.Response:
        """Report a denial and return its answer: a short text, and `X-Bottle-Denied` with the rule and what to do."""
        hint = denied.hint.replace("{name}", self.name)
        self.events.emit("egress", verdict="denied", rule=denied.rule, reason=denied.message, **facts)
        header = f"{denied.rule}; {hint}" if hint else denied.rule
        text = f"bottle: denied ({denied.rule}): {denied.message}\n" + (f"{hint}\n" if hint else "")
        return web.Response(status=denied.status, text=text, headers={"X-Bottle-Denied": header})

    def failed(self, message: str, **facts: object) -> web.Response:
        """Report that an allowed server failed and return the 502 that names it."""
        self.events.emit("egress-failed", reason=message, **facts)
        return web.Response(status=502, text=f"bottle: {message}\n")
