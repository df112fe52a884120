"""The configuration of a gateway process: frozen and checked strictly.

`egress_plan` builds it on the host; it travels as one JSON line on standard input.  It needs no pydantic, because the
gateway may run in a container that has none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Any, Final

from bb_jupyter.errors import ManifestError
from bb_jupyter.policy.routes import RouteConfig, checked_object, require, routes_from_json


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """Bounds of one gateway; times in seconds, sizes in bytes.

    Attributes:
        connections: client connections at a time.
        header: largest request line or header field.
        connect: until an upstream connection (DNS, TCP, TLS) stands, and until a client has sent its TLS hello.
        idle: a relay or request without a byte in either direction ends after this.
        total: a relay or request ends after this, busy or not; 0 for never.
        websocket: largest WebSocket message on an intercepted route.
    """

    connections: int = 256
    header: int = 16384
    connect: float = 15.0
    idle: float = 900.0
    total: float = 0.0
    websocket: int = 8 * 1024 * 1024

    @classmethod
    def from_json(cls, data: object, where: str) -> GatewayLimits:
        """Check and build one; raises ManifestError naming the key."""
        values = checked_object(cls, data, where)
        for key, value in values.items():
            good = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
            require(good and (value > 0 or key == "total"), f"{where}.{key}", "must be a positive number")
        return cls(**values)


DEFAULT_LIMITS: Final = GatewayLimits()


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """First line on the gateway's standard input.

    Attributes:
        slug: the bottle's slug, copied into every event.
        name: what the user calls the bottle, for hints such as ``%bottle allow NAME HOST``.
        routes: what the bottle may reach; empty means nothing.
        generation: number of this policy; later ones must be higher.
        trust_pem: CA bundle of the host for upstream certificates; empty uses the system's.
        limits: bounds.
        keep: live on when standard input ends (control then comes by the control socket).
        own: addresses of the machine that a gateway in a container runs on, which must not be dialled.
    """

    slug: str
    name: str = ""
    routes: tuple[RouteConfig, ...] = ()
    generation: int = 1
    trust_pem: str = ""
    limits: GatewayLimits = DEFAULT_LIMITS
    keep: bool = False
    own: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, data: object) -> GatewayConfig:
        """Check and build one.

        Raises:
            ManifestError: what is wrong, at which key; never quotes a secret.
        """
        values = checked_object(cls, data, "gateway")
        require(isinstance(values["slug"], str) and bool(values["slug"]), "gateway.slug", "must be the bottle's slug")
        values["routes"] = routes_from_json(values.get("routes", ()))
        values["limits"] = GatewayLimits.from_json(values.get("limits") or {}, "gateway.limits")
        values["name"] = str(values.get("name") or values["slug"])
        values["own"] = _addresses(values.get("own", ()))
        config = cls(**values)
        require(type(config.generation) is int, "gateway.generation", "must be a whole number")
        require(isinstance(config.trust_pem, str), "gateway.trust_pem", "must be PEM text")
        require(isinstance(config.keep, bool), "gateway.keep", "must be true or false")
        return config

    def to_json(self) -> dict[str, Any]:
        """Return the object to send, **with the secrets**."""
        return asdict(self)


def _addresses(data: object) -> tuple[str, ...]:
    """Bring addresses into the form of `ipaddress`."""
    try:
        return tuple(str(ip_address(text)) for text in data if isinstance(text, str))  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ManifestError("must be a list of IP addresses", key="gateway.own") from None
