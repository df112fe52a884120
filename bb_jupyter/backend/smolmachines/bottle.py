"""A running microVM bottle."""

from __future__ import annotations

import base64
import contextlib
import io
import secrets
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from bb_jupyter.agent import process_tree
from bb_jupyter.agent.guest import Command
from bb_jupyter.backend.bottle import Bottle
from bb_jupyter.backend.shared.archive import BeforeCopy, CopyReport, nothing
from bb_jupyter.backend.shared.bottle_broker import BottleBroker, services
from bb_jupyter.backend.shared.copying import plan_copy
from bb_jupyter.backend.shared.guest_user import guest_user
from bb_jupyter.backend.shared.network import Network
from bb_jupyter.backend.smolmachines import branch, sdk, shell, transfer
from bb_jupyter.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from bb_jupyter.backend.smolmachines.egress_interceptor import Interceptor
from bb_jupyter.backend.smolmachines.execution import SmolExecution, refused
from bb_jupyter.backend.spec import Copy
from bb_jupyter.errors import BackendUnavailable, BottleGone, UsageError
from bb_jupyter.gateway import GATE_ADDRESS

if TYPE_CHECKING:
    from smol import ExecStream, Machine

    from bb_jupyter.broker.broker_client import BrokerClient
    from bb_jupyter.broker.broker_config import BrokerConfig
    from bb_jupyter.gateway.control.gateway_client import Event, GatewayClient
    from bb_jupyter.gateway.control.gateway_config import GatewayConfig
    from bb_jupyter.gateway.egress_plan import EgressPlan

#: Most bytes of input that go with the request that starts the command.
_WITH_REQUEST = 64 << 10
#: How often a kill is tried, and the seconds between two tries.
_KILLS, _KILL_PAUSE = 20, 0.25


class SmolmachinesBottle(Bottle):
    """A bottle that is a microVM.

    Args:
        plan: what was launched.
        machine: the SDK's handle.
        interceptor: passes the machine's connections on to the gateway; `None` in the cloud.
    """

    def __init__(self, plan: SmolmachinesBottlePlan, machine: Machine, interceptor: Interceptor | None) -> None:
        self.plan: SmolmachinesBottlePlan = plan
        self.machine = machine
        self._interceptor = interceptor
        self.network = Network(plan, self._start_gateway)
        self.broker = BottleBroker(plan, self._start_broker, self)

    @property
    def alive(self) -> bool:
        """Whether its machine runs; true also if the SDK does not answer just now."""
        try:
            with sdk.errors("look at the machine", name=self.name):
                return self.machine.state() in sdk.ALIVE
        except BottleGone:
            return False
        except BackendUnavailable:
            return True

    def allow(self, routes: EgressPlan) -> int:
        """See `Bottle.allow`; the network of a cloud machine cannot change.

        Raises:
            UsageError: the machine is in the cloud.
        """
        if self._interceptor is None:
            raise UsageError(
                f"the network of '{self.name}' cannot change: the smol cloud fixes it when a machine is made",
                hint="Launch the bottle anew with --allow HOST.",
            )
        return super().allow(routes)

    def start(self, command: Command) -> SmolExecution:
        """Start a command; see `Bottle.exec`.  A file is read to its end before the command starts."""
        return self._start(
            replace(
                command,
                env={**self.plan.env, **self._network_env(), **self.plan.spec.env, **command.env},
                cwd=transfer.resolve(command.cwd or self.plan.spec.cwd),
                user=guest_user(command.user) if command.user else self.plan.machine_user,
                timeout=self.plan.spec.limits.timeout if command.timeout is None else command.timeout,
            )
        )

    def _network_env(self) -> dict[str, str]:
        """Return the variables by which programs find the gateway; they reach services directly, by address."""
        found = self.network.env
        return found | {name: f"{found[name]},{GATE_ADDRESS}" for name in ("NO_PROXY", "no_proxy") if name in found}

    def run_own(self, argv: Sequence[str], *, stdin: IO[bytes] | None = None) -> SmolExecution:
        """Start a command of ours, as the agent, without a time limit."""
        return self._start(
            Command(tuple(argv), stdin, env=self.plan.env, cwd=self.plan.guest_home, user=guest_user(""))
        )

    def _start(self, command: Command) -> SmolExecution:
        """Start *command*, whose fields are all set; a missing timeout means no limit."""
        from smol import SmolError

        try:
            return self._staged(command)
        except BackendUnavailable as error:
            if command.user != guest_user("") and "user" in error.message:
                raise refused(error.message) from None
            raise
        except SmolError as error:
            raise sdk.gone(self.name) if sdk.is_gone(error) else sdk.explain(error, "send a command's input") from None

    def _staged(self, command: Command) -> SmolExecution:
        """Put the input of *command* where the machine can read it, and start the command.

        A command that the machine ends with 137 before any output is started once more (see `SmolExecution`).
        """
        from smol import ExecOptions

        nonce = secrets.token_hex(16)
        source, text, staged = self._input(command.stdin)
        remove = self._remover(staged)
        script = shell.run(
            list(command.argv), nonce=nonce, cwd=command.cwd or "", pids=self.plan.spec.limits.pids, source=source
        )
        user = command.user or ""
        options = ExecOptions(env=dict(command.env), user=user, stdin=text)

        def start() -> ExecStream:
            with sdk.errors(f"start a command in bottle '{self.name}'", name=self.name):
                return self.machine.exec_stream(script, options)

        try:
            return SmolExecution(
                start,
                self._killer(user),
                nonce=nonce,
                is_alive=lambda: self.alive,
                name=self.name,
                timeout=command.timeout,
                on_close=remove,
            )
        except BaseException:
            remove()
            raise

    def _input(self, stdin: bytes | IO[bytes] | None) -> tuple[str, str | None, list[str]]:
        """Return the place of the command's input (see `shell.run`), the part in the request, and the staged files."""
        if stdin is None:
            return "", None, []
        if isinstance(stdin, bytes) and len(stdin) <= _WITH_REQUEST:
            return "-", base64.b64encode(stdin).decode(), []
        staged = transfer.stage(self.machine, io.BytesIO(stdin) if isinstance(stdin, bytes) else stdin)
        return " ".join(staged), None, staged

    def _remover(self, staged: list[str]) -> Callable[[], None]:
        def remove() -> None:
            if staged:  # on a thread: it takes a request, and no caller waits for it
                with contextlib.suppress(RuntimeError):  # at the end of the interpreter no thread can start
                    threading.Thread(target=transfer.remove_staged, args=(self.machine, staged), daemon=True).start()

        return remove

    def _killer(self, user: str) -> Callable[[int], None]:
        from smol import ExecOptions, SmolError

        def kill(pid: int) -> None:
            # A machine at its limit of processes may refuse one more for a moment.
            for _ in range(_KILLS):
                try:
                    done = self.machine.exec(process_tree.kill_command(pid), ExecOptions(user=user, timeout=sdk.SHORT))
                except SmolError as error:
                    if sdk.is_gone(error):
                        return
                else:
                    if done.stdout_bytes == process_tree.GONE:
                        return
                time.sleep(_KILL_PAUSE)

        return kill

    def cp_in(self, source: Path, target: str, *, take: Collection[str] = ()) -> CopyReport:
        """Copy into the bottle; see `Bottle.cp_in`."""
        return transfer.copy_in(self, plan_copy(Copy(source, PurePosixPath(target), tuple(take)), honour_rules=False))

    def cp_out(
        self, source: str, target: Path, *, take: Collection[str] = (), before: BeforeCopy = nothing
    ) -> CopyReport:
        """Copy out of the bottle; see `Bottle.cp_out`."""
        return transfer.copy_out(self, source, target, take, before)

    def snapshot(self) -> AbstractContextManager[SmolmachinesBottlePlan]:
        """Keep its files for other bottles; see `Bottle.snapshot` and `branch`."""
        return branch.snapshot(self)

    def _start_gateway(self, config: GatewayConfig, on_event: Callable[[Event], None]) -> GatewayClient:
        from bb_jupyter.gateway.audit.audit_log import AuditLog
        from bb_jupyter.gateway.control.gateway_client import GatewayClient

        with self._own_interceptor().listen("egress") as listener:
            return GatewayClient.spawn(
                config, {"egress": listener.fileno()}, audit=AuditLog(self.slug), on_event=on_event
            )

    def _start_broker(self, config: BrokerConfig, on_event: Callable[[Event], None]) -> BrokerClient:
        from bb_jupyter.broker.broker_client import BrokerClient

        with ExitStack() as stack:
            sockets = {
                service: stack.enter_context(self._own_interceptor().listen(service)) for service in services(self.plan)
            }
            listeners = {service: listener.fileno() for service, listener in sockets.items()}
            return BrokerClient.spawn(config, on_event, listeners=listeners)

    def _own_interceptor(self) -> Interceptor:
        if self._interceptor is None:
            raise RuntimeError("a cloud machine has no gateway of ours")
        return self._interceptor
