"""A running bottle that is a container."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import ClassVar

import requests
from docker.errors import DockerException

from bb_jupyter.agent.guest import STEP_TIMEOUT, Command
from bb_jupyter.agent.provisioning import ca_command
from bb_jupyter.backend.bottle import Bottle
from bb_jupyter.backend.shared.archive import BeforeCopy, CopyReport, nothing
from bb_jupyter.backend.shared.bottle_broker import BottleBroker
from bb_jupyter.backend.shared.container_engine import branch, transfer
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.container_engine.broker_relay import Relay
from bb_jupyter.backend.shared.container_engine.engine import Engine, once_unpaused
from bb_jupyter.backend.shared.container_engine.execution import HEADER, ContainerExecution, gone
from bb_jupyter.backend.shared.container_engine.gateway import Gateways
from bb_jupyter.backend.shared.container_engine.stream import Stdin
from bb_jupyter.backend.shared.copying import plan_copy
from bb_jupyter.backend.shared.guest_user import guest_user
from bb_jupyter.backend.shared.network import Network
from bb_jupyter.backend.shared.serial_executor import SerialExecutor, run_to_completion
from bb_jupyter.backend.spec import Copy


class ContainerBottle(Bottle):
    """A bottle that is a container.

    Args:
        plan: what was launched.
        engine: where it runs.

    Attributes:
        gateways: starts the gateways of its network.
        relay: connects its broker.
    """

    #: The engine deletes a snapshot's unnamed image together with the last container that runs it.
    snapshot_needs_bottle: ClassVar[bool] = True

    def __init__(self, plan: ContainerBottlePlan, engine: Engine) -> None:
        self.plan: ContainerBottlePlan = plan
        self._engine = engine
        self.gateways = Gateways(engine, plan)
        self.network = Network(plan, self.gateways.open)
        self.relay = Relay(engine, plan)
        self.broker = BottleBroker(plan, self.relay.start_broker, self)
        self._ca_command: EarlyCommand | None = None

    @property
    def alive(self) -> bool:
        """Whether its container runs."""
        return self._engine.is_running(self.plan.container)

    def start_ca_command(self, steps: SerialExecutor) -> None:
        """Begin to start, as one of *steps*, the command that trusts the gateway's CA, which is still being made."""
        self._ca_command = EarlyCommand(self, tuple(ca_command(self.plan.guest_home)), steps)

    def discard_ca_command(self) -> None:
        """End the command of `start_ca_command` if it was not used; does not wait until it has started.  Idempotent."""
        early, self._ca_command = self._ca_command, None
        if early is not None:
            early.discard()

    def trust_gateway(self) -> None:
        """See `Bottle.trust_gateway`; wait also until the gateway has the bottle's sockets."""
        self._provision_ca(self._ca_command or self)
        self.discard_ca_command()
        self.gateways.wait_served()

    def start(self, command: Command) -> ContainerExecution:
        """Start a command; see `Bottle.exec`."""
        limit = self.plan.spec.limits.timeout if command.timeout is None else command.timeout
        folder = command.cwd or self.plan.spec.cwd
        through_gateway = {**self.network.env, **self.plan.spec.env} if self.network.env else {}

        def start() -> ContainerExecution:
            return ContainerExecution.begin(
                self._engine, self.plan, [*HEADER, transfer.resolve(folder) if folder else "", *command.argv],
                stdin=command.stdin, env={**through_gateway, **command.env},
                user=guest_user(command.user) if command.user else "", timeout=limit,
            )  # fmt: skip

        with self._errors("start a command"):
            return run_to_completion(lambda: once_unpaused(start), undo=ContainerExecution.close)

    def cp_in(self, source: Path, target: str, *, take: Collection[str] = ()) -> CopyReport:
        """Copy into the bottle; see `Bottle.cp_in`."""
        plan = plan_copy(Copy(source, PurePosixPath(target), tuple(take)), honour_rules=False)
        with self._errors(f"copy {source} in"):
            return transfer.copy_in(self._engine, self.plan.container, self.plan.container_user, plan)

    def cp_out(
        self, source: str, target: Path, *, take: Collection[str] = (), before: BeforeCopy = nothing
    ) -> CopyReport:
        """Copy out of the bottle; see `Bottle.cp_out`."""
        with self._errors(f"copy {source} out"):
            return transfer.copy_out(self._engine, self.plan.container, source, target, take, before)

    def snapshot(self) -> AbstractContextManager[ContainerBottlePlan]:
        """Hold its files as an image; see `Bottle.snapshot`."""
        return branch.snapshot(self._engine, self.plan)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (DockerException, requests.RequestException) as error:
            if self._engine.is_gone(error) and not self.alive:
                raise gone(self.name) from None
            raise self._engine.explain(error, doing) from None

    def start_without_input(self, argv: tuple[str, ...]) -> ContainerExecution:
        """Start a command whose input follows by `ContainerExecution.given`."""
        return ContainerExecution.begin(
            self._engine,
            self.plan,
            [*HEADER, "", *argv],
            stdin=None,
            stdin_follows=True,
            env={},
            user="",
            timeout=STEP_TIMEOUT,
        )


class EarlyCommand:
    """A bottle in which one command was started before its input was there; others start as usual.

    Args:
        bottle: where it runs.
        argv: the command.
        steps: it starts as one of these.
    """

    def __init__(self, bottle: ContainerBottle, argv: tuple[str, ...], steps: SerialExecutor) -> None:
        self._bottle, self._argv = bottle, argv
        self._started: Future[ContainerExecution] | None = steps.begin(lambda: bottle.start_without_input(argv))

    def start(self, command: Command) -> ContainerExecution:
        """Start a command, or give the input to the one that waits for it; see `Bottle.exec`."""
        if self._started is None or command.stdin is None or command != Command(self._argv, command.stdin):
            return self._bottle.start(command)
        started, self._started = self._started, None
        with self._bottle._errors("start a command"):
            return started.result().given(Stdin(command.stdin))

    exec = Bottle.exec

    def cp_in(self, source: Path, target: str, *, take: Collection[str] = ()) -> CopyReport:
        """Copy into the bottle; see `Bottle.cp_in`."""
        return self._bottle.cp_in(source, target, take=take)

    def discard(self) -> None:
        """End the command if nothing has used it."""
        started, self._started = self._started, None
        if started is not None:
            started.add_done_callback(_close)


def _close(started: Future[ContainerExecution]) -> None:
    with contextlib.suppress(Exception):
        started.result().close()
