"""The relay of a desk: a container that shares the bottle's network, has no other, and passes connections to this host.

It is the only thing of a desk that is on the engine.  No port of this host and no file of it is used, so the engine may
be anywhere.
"""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

import docker

from bb_jupyter.backend.base import no_progress
from bb_jupyter.backend.desk import control_socket, has_desk, rooms
from bb_jupyter.backend.docker import engine, gateway_image, labels, relay_stream
from bb_jupyter.backend.docker.bottle_plan import DockerBottlePlan
from bb_jupyter.backend.docker.enumerate import containers
from bb_jupyter.backend.docker.gateway_image import PYTHON, USER
from bb_jupyter.backend.docker.removal import remove
from bb_jupyter.backend.docker.steps import Steps
from bb_jupyter.errors import BottleError

if TYPE_CHECKING:
    from bb_jupyter.gateway.client import Event
    from bb_jupyter.gateway.desk.client import DeskClient
    from bb_jupyter.gateway.desk.config import DeskConfig

#: Bytes and processes: what `relay.MOST_CONNECTIONS` with full windows need, and a bound for a flaw.
_MEMORY, _PIDS = 256 << 20, 16


class Relay:
    """The relay of one bottle's desk, when it has one.  Each request is run to its end, in a thread.

    Args:
        client: the engine.
        plan: the bottle's.
    """

    def __init__(self, client: docker.APIClient, plan: DockerBottlePlan) -> None:
        self._client, self._plan = client, plan
        self.name = f"{plan.container}-desk-{secrets.token_hex(3)}"
        self._steps: Steps | None = None
        self._desk: DeskClient | None = None
        self._bottle_runs = False

    def start_desk(self, config: DeskConfig, on_event: Callable[[Event], None]) -> DeskClient:
        """Begin to start a desk and its relay (`StartDesk`); where the bottle does not run yet, `serve` follows.

        Raises:
            BackendUnavailable: the engine does not answer.
            BuildFailed: the relay's image cannot be built.
        """
        from bb_jupyter.gateway.desk.client import DeskClient

        image_id = gateway_image.obtain(self._client, no_progress)
        if self._steps is None:
            self._steps = Steps()
        settings = {"engine": engine.address(self._client), "container": engine.path(self._client, self.name)}
        command = (sys.executable, "-P", relay_stream.__file__, json.dumps(settings))
        control = control_socket(self._plan.slug) if self._plan.spec.keep else None
        self._desk = DeskClient.spawn(replace(config, relay=command), on_event, control=control)
        self._begin(lambda: self._create(image_id))
        if self._bottle_runs:
            self.serve()
        return self._desk

    def found(self) -> bool:
        """Take notice that the bottle runs already; return whether a relay does, too."""
        self._bottle_runs = True
        if not has_desk(self._plan):
            return False
        return any(each.role == labels.RELAY and each.running for each in containers(self._plan.slug))

    def serve(self) -> None:
        """Let the relay begin, for the bottle runs now; does not wait."""
        self._bottle_runs = True
        if self._desk is not None:
            self._begin(self._desk.serve)

    def begin_removal(self) -> Future[None] | None:
        """Remove it after what is being done; does not wait.  Idempotent."""
        return self._steps.begin(lambda: remove(self._client, self.name)) if self._steps else None

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

    def _begin(self, step: Callable[[], object]) -> None:
        """Run a step after the others; whoever waits for the desk gets to know why it fails."""

        def telling() -> None:
            try:
                step()
            except BottleError as error:
                if self._desk is not None:
                    self._desk.fail(error)

        if self._steps is not None:
            self._steps.begin(telling)

    def _create(self, image_id: str) -> None:
        for ended in (each for each in containers(self._plan.slug) if each.role == labels.RELAY):
            remove(self._client, ended.container)
        # `-S`: it needs the standard library alone.
        command = [PYTHON, "-E", "-S", "-m", "bb_jupyter.gateway.relay", *rooms(self._plan)]
        with engine.errors("create the relay of the bottle's desk"):
            config = self._client.create_container_config(
                image_id,
                command,
                user=USER,
                stdin_open=True,
                labels=labels.of_plan(self._plan, labels.RELAY),
                stop_signal="SIGKILL",
                healthcheck={"test": ["NONE"]},
                host_config=self._client.create_host_config(
                    network_mode=f"container:{self._plan.container}",
                    read_only=True,
                    cap_drop=["ALL"],
                    security_opt=["no-new-privileges"],
                    ipc_mode="private",
                    log_config={"Type": "none"},
                    ulimits=[{"Name": "core", "Soft": 0, "Hard": 0}],
                    mem_limit=_MEMORY,
                    memswap_limit=_MEMORY,
                    pids_limit=_PIDS,
                ),
            )
            self._client.create_container_from_config(config, self.name)
