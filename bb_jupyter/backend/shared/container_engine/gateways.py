"""The gateways of one bottle: none at first, one when it may reach something, another when that died."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import docker

from bb_jupyter.backend.base import no_progress
from bb_jupyter.backend.shared.container_engine import engine, gateway_image, labels
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.container_engine.enumerate import containers
from bb_jupyter.backend.shared.container_engine.gateway import Gateway, control

if TYPE_CHECKING:
    from bb_jupyter.gateway.control.gateway_client import Event, GatewayClient
    from bb_jupyter.gateway.control.gateway_config import GatewayConfig


class Gateways:
    """What a `Network` starts gateways by, and a launch removes them by.

    Args:
        client: the engine.
        plan: the bottle's.
    """

    def __init__(self, client: docker.APIClient, plan: ContainerBottlePlan) -> None:
        self._client, self._plan = client, plan
        self._all: list[Gateway] = []
        self._prepared: Gateway | None = None

    def prepare(self, image_id: str) -> None:
        """Begin to start one, while the bottle itself starts; then `hand_off`, and `open` is going to use it."""
        gateway = Gateway(self._client, self._plan, image_id)
        self._all.append(gateway)
        gateway.start()
        self._prepared = gateway

    def hand_off(self) -> None:
        """Begin to bring the prepared one its sockets, for the bottle runs now; nothing when none is prepared."""
        if self._prepared is not None:
            self._prepared.hand_off()

    def open(self, config: GatewayConfig, on_event: Callable[[Event], None]) -> GatewayClient:
        """Start one (`StartGateway`); the one before is removed.

        Raises:
            BackendUnavailable: it did not start.
            BuildFailed: its image cannot be built.
            ManifestError: it refused the configuration.
        """
        from bb_jupyter.gateway.egress_plan import host_trust_pem
        from bb_jupyter.gateway.proxy.host_addresses import of_this_host

        if self._prepared is None:
            self.prepare(gateway_image.obtain(self._client, no_progress))
            self.hand_off()
        gateway, self._prepared = self._all[-1], None
        for other in self._all[:-1]:
            other.begin_removal()
        try:
            return gateway.open(
                replace(config, trust_pem=host_trust_pem(), own=(*of_this_host(), *engine.addresses(self._client))),
                on_event,
            )
        except BaseException:
            gateway.begin_removal()
            raise

    def find(self, on_event: Callable[[Event], None]) -> GatewayClient | None:
        """Return the one that a dead process left to run; `None` when it died as well.

        Raises:
            BackendUnavailable: the engine does not answer.
        """
        running = [each for each in containers(self._plan.slug) if each.role == labels.GATEWAY and each.running]
        return control(self._client, running[-1].id, self._plan.slug, on_event) if running else None

    def wait_served(self) -> None:
        """Wait until the bottle reaches its gateway.

        Raises:
            BackendUnavailable: the gateway got no sockets.
        """
        self._all[-1].wait_served()

    def begin_removal(self) -> None:
        """Remove them all; does not wait."""
        for gateway in self._all:
            gateway.begin_removal()

    def wait_removed(self) -> None:
        """Remove them all and wait until they are gone.

        Raises:
            BackendUnavailable: the engine does not answer.
        """
        self.begin_removal()
        for gateway in self._all:
            gateway.begin_removal().result()
