"""The relay of a broker: a container that shares the bottle's network, has no other, and passes connections to this
host.

It is the only thing of a broker that is on the engine.  No port of this host and no file of it is used, so the engine
may be anywhere.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from bb_jupyter.backend.base import no_progress
from bb_jupyter.backend.shared.bottle_broker import control_socket, has_broker, services
from bb_jupyter.backend.shared.container_engine import labels, relay_stream, sidecar
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.backend.shared.container_engine.enumerate import containers
from bb_jupyter.backend.shared.serial_executor import SerialExecutor
from bb_jupyter.errors import BottleError

if TYPE_CHECKING:
    from bb_jupyter.broker.broker_client import BrokerClient
    from bb_jupyter.broker.broker_config import BrokerConfig
    from bb_jupyter.gateway.control.gateway_client import Event

#: Bytes and processes: what `relay.MOST_CONNECTIONS` with full windows need, and a bound for a flaw.
_MEMORY, _PIDS = 256 << 20, 16


class Relay:
    """The relay of one bottle's broker, when it has one.  Each request is run to its end, in a thread.

    Args:
        engine: where the bottle runs.
        plan: the bottle's.
    """

    def __init__(self, engine: Engine, plan: ContainerBottlePlan) -> None:
        self._engine, self._plan = engine, plan
        self.name = f"{plan.container}-broker-{secrets.token_hex(3)}"
        self._steps: SerialExecutor | None = None
        self._broker: BrokerClient | None = None
        self._created: Future[bool] | None = None
        self._bottle_runs = False
        self._image_id = ""

    def start_broker(self, config: BrokerConfig, on_event: Callable[[Event], None]) -> BrokerClient:
        """Begin to start a broker and its relay (`StartBroker`); where the bottle does not run yet, `serve` follows.

        Raises:
            BackendUnavailable: the engine does not answer.
            BuildFailed: the relay's image cannot be built.
        """
        from bb_jupyter.broker.broker_client import BrokerClient

        image_id = sidecar.obtain_image(self._engine, no_progress)
        if self._steps is None:
            self._steps = SerialExecutor()
        settings = {"engine": self._engine.address(), "container": self._engine.path(self.name)}
        command = (sys.executable, "-P", relay_stream.__file__, json.dumps(settings))
        control = control_socket(self._plan.slug) if self._plan.spec.keep else None
        self._broker = BrokerClient.spawn(replace(config, relay=command), on_event, control=control)
        self._image_id, self._created = image_id, None
        if self._engine.joins_unmade:
            self._begin_create()
        if self._bottle_runs:
            self.serve()
        return self._broker

    def found(self) -> bool:
        """Take notice that the bottle runs already; return whether a relay does, too."""
        self._bottle_runs = True
        if not has_broker(self._plan):
            return False
        return any(each.role == labels.RELAY and each.running for each in containers(self._engine, self._plan.slug))

    def serve(self) -> None:
        """Let the relay begin, for the bottle runs now; does not wait."""
        self._bottle_runs = True
        if self._broker is not None and self._created is None:
            self._begin_create()
        broker, created = self._broker, self._created
        if broker is not None and created is not None:
            self._begin(lambda: broker.serve() if created.result() else None)

    def _begin_create(self) -> None:
        image_id = self._image_id
        self._created = self._begin(lambda: self._create(image_id))

    def begin_removal(self) -> Future[None] | None:
        """Remove it after what is being done; does not wait.  Idempotent."""
        return self._steps.begin(lambda: self._engine.remove(self.name)) if self._steps else None

    def wait_removed(self) -> None:
        """Remove it and wait until it is gone.

        Raises:
            BackendUnavailable: the engine does not answer.
        """
        removal = self.begin_removal()
        if self._steps is not None and removal is not None:
            self._steps.close()
            removal.result()
            self._steps = None

    def _begin(self, step: Callable[[], object]) -> Future[bool] | None:
        """Run a step after the others; its result is whether it was done.  Who waits for the broker is told why not."""
        broker = self._broker

        def telling() -> bool:
            try:
                step()
            except BottleError as error:
                if broker is not None:
                    broker.fail(error)
                return False
            return True

        return self._steps.begin(telling) if self._steps else None

    def _create(self, image_id: str) -> None:
        for ended in (each for each in containers(self._engine, self._plan.slug) if each.role == labels.RELAY):
            self._engine.remove(ended.id)
        network = f"container:{self._plan.container}"
        # `-S`: it needs the standard library alone.
        module = ["-S", "-m", "bb_jupyter.gateway.handoff.mux", *services(self._plan)]
        with self._engine.errors("create the relay of the bottle's broker"):
            sidecar.create(
                self._engine, image_id, self.name, module, network=network,
                labels=labels.of_plan(self._plan, labels.RELAY), memory=_MEMORY, pids=_PIDS, stdin=True,
            )  # fmt: skip
