"""A running Docker bottle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import ClassVar

import docker
import requests
from docker.errors import DockerException

from bb_jupyter.agent.guest import STEP_TIMEOUT, Command
from bb_jupyter.backend.bottle import Bottle
from bb_jupyter.backend.shared.archive import CopyReport
from bb_jupyter.backend.shared.bottle_broker import BottleBroker
from bb_jupyter.backend.shared.container_engine import branch, engine, transfer
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.container_engine.broker_relay import Relay
from bb_jupyter.backend.shared.container_engine.execution import HEADER, ContainerExecution, gone
from bb_jupyter.backend.shared.container_engine.gateways import Gateways
from bb_jupyter.backend.shared.container_engine.stdin import Stdin
from bb_jupyter.backend.shared.copying import plan_copy
from bb_jupyter.backend.shared.guest_user import guest_user
from bb_jupyter.backend.shared.network import Network
from bb_jupyter.backend.shared.serial_executor import SerialExecutor, run_to_completion
from bb_jupyter.backend.spec import Copy


class ContainerBottle(Bottle):
    """A bottle that is a container.

    Args:
        plan: what was launched.
        client: the engine.

    Attributes:
        gateways: what its network starts gateways by.
        relay: what its broker is reached through.
    """

    #: The engine deletes a snapshot's unnamed image together with the last container that runs it.
    snapshot_needs_bottle: ClassVar[bool] = True

    def __init__(self, plan: ContainerBottlePlan, client: docker.APIClient) -> None:
        self.plan: ContainerBottlePlan = plan
        self._client = client
        self.gateways = Gateways(client, plan)
        self.network = Network(plan, self.gateways.open)
        self.relay = Relay(client, plan)
        self.broker = BottleBroker(plan, self.relay.start_broker, self)
        self._expected: dict[tuple[str, ...], Future[ContainerExecution]] = {}

    @property
    def alive(self) -> bool:
        """Whether its container runs."""
        return engine.is_running(self._client, self.plan.container)

    def trust_gateway(self) -> None:
        """See `Bottle.trust_gateway`; meanwhile the gateway gets the bottle's sockets, which are waited for, too."""
        super().trust_gateway()
        self.gateways.wait_served()

    def start(self, command: Command) -> ContainerExecution:
        """Start a command; see `Bottle.exec`."""
        stdin = command.stdin
        unlike = stdin is None or command.env or command.cwd or command.user
        known = None if unlike else self._expected.pop(command.argv, None)
        if stdin is not None and known is not None:
            with self._errors("start a command"):
                return known.result().given(Stdin(stdin))
        who = guest_user(command.user) if command.user else ""
        limit = self.plan.spec.limits.timeout if command.timeout is None else command.timeout
        folder = command.cwd or self.plan.spec.cwd
        through_gateway = {**self.network.env, **self.plan.spec.env} if self.network.env else {}
        variables = {**through_gateway, **command.env}
        argv = [*HEADER, transfer.resolve(folder) if folder else "", *command.argv]

        def start() -> ContainerExecution:
            created = self._client.exec_create(
                self.plan.container, argv, stdin=stdin is not None, environment=variables, user=who
            )
            return ContainerExecution(
                self._client, self.plan.container, created["Id"], stdin=None if stdin is None else Stdin(stdin),
                user=who, name=self.name, timeout=limit,
            )  # fmt: skip

        with self._errors("start a command"):
            return run_to_completion(lambda: engine.once_unpaused(start), undo=ContainerExecution.close)

    def expect(self, argv: Sequence[str], steps: SerialExecutor) -> None:
        """Begin to start, as one of *steps*, a command that `exec` will be asked for with input; does not wait."""

        def start() -> ContainerExecution:
            created = self._client.exec_create(self.plan.container, [*HEADER, "", *argv], stdin=True)
            return ContainerExecution(
                self._client, self.plan.container, created["Id"], stdin=None,
                user="", name=self.name, timeout=STEP_TIMEOUT,
            )  # fmt: skip

        self._expected[tuple(argv)] = steps.begin(start)

    def expect_nothing(self) -> None:
        """End the commands that were not asked for; does not wait for those that still start."""
        while self._expected:
            self._expected.popitem()[1].add_done_callback(_end)

    def cp_in(self, source: Path, target: str) -> CopyReport:
        """Copy into the bottle; see `Bottle.cp_in`."""
        plan = plan_copy(Copy(source, PurePosixPath(target)), honour_rules=False)
        with self._errors(f"copy {source} in"):
            return transfer.copy_in(self._client, self.plan.container, self.plan.container_user, plan)

    def cp_out(self, source: str, target: Path) -> CopyReport:
        """Copy out of the bottle; see `Bottle.cp_out`."""
        with self._errors(f"copy {source} out"):
            return transfer.copy_out(self._client, self.plan.container, source, target)

    def snapshot(self) -> AbstractContextManager[ContainerBottlePlan]:
        """Hold its files as an image; see `Bottle.snapshot`."""
        return branch.snapshot(self._client, self.plan)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (DockerException, requests.RequestException) as error:
            if engine.is_gone(error) and not self.alive:
                raise gone(self.name) from None
            raise engine.explain(error, doing) from None


def _end(started: Future[ContainerExecution]) -> None:
    if started.exception() is None:
        started.result().close()
