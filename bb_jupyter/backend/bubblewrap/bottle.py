"""A running bubblewrap bottle: requests go to guest.py over its control socket, files as tar streams through `exec`."""

from __future__ import annotations

import contextlib
import itertools
import marshal
import os
import posixpath
import socket
import subprocess
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from bb_jupyter.agent.guest import Command
from bb_jupyter.backend.bottle import Bottle
from bb_jupyter.backend.bubblewrap import branch, bwrap
from bb_jupyter.backend.bubblewrap.bottle_plan import BubblewrapBottlePlan
from bb_jupyter.backend.bubblewrap.execution import BubblewrapExecution
from bb_jupyter.backend.bubblewrap.pipes import Feeder, fed_pipe, from_file, memory_file, pipe
from bb_jupyter.backend.bubblewrap.prepare import check_user
from bb_jupyter.backend.plan import GUEST_UID
from bb_jupyter.backend.shared.archive import BeforeCopy, CopyReport, nothing, receive
from bb_jupyter.backend.shared.bottle_broker import BottleBroker, services
from bb_jupyter.backend.shared.copying import CopyPlan, pack, plan_copy
from bb_jupyter.backend.shared.network import Network
from bb_jupyter.backend.spec import Copy
from bb_jupyter.errors import BackendUnavailable, BottleGone, UsageError
from bb_jupyter.gateway import PORTS
from bb_jupyter.text.visible import last_line

if TYPE_CHECKING:
    from bb_jupyter.broker.broker_client import BrokerClient
    from bb_jupyter.broker.broker_config import BrokerConfig
    from bb_jupyter.gateway.control.gateway_client import Event, GatewayClient
    from bb_jupyter.gateway.control.gateway_config import GatewayConfig
    from bb_jupyter.gateway.handoff.spawn_gateway import GatewayProcess

_COPY_BUFFER = 1 << 20
#: Seconds until a sandbox must have ended after the control socket was closed.
_END = 5.0
#: Seconds until guest.py must have answered; it takes a millisecond.
_ANSWER = 30.0

# These run inside the bottle: the interpreter that runs guest.py is always there.
_UNPACK = """
import os, sys, tarfile
target, name = sys.argv[1:]
top = os.path.join(target, name) if os.path.isdir(target) else os.path.normpath(target)
os.makedirs(os.path.dirname(top), exist_ok=True)
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
    archive.extraction_filter = lambda member, path: member
    for member in archive:
        member.name = top + member.name[1:]
        archive.extract(member, "/", numeric_owner=True)
"""
_PACK = """
import os, sys, tarfile
source = sys.argv[1]
if not os.path.lexists(source): sys.exit("there is no " + source)
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
    archive.add(source, os.path.basename(os.path.normpath(source)) or "root")
"""


class BubblewrapBottle(Bottle):
    """A bottle whose PID 1 is guest.py.

    Args:
        plan: what was launched.
        control: the host's end of the control socket.
        process: the bwrap process.
        gateway: a gateway that was started beside it; `None` if it has no network at first.
    """

    def __init__(
        self,
        plan: BubblewrapBottlePlan,
        control: socket.socket,
        process: subprocess.Popen[bytes],
        gateway: GatewayProcess | None = None,
    ) -> None:
        self.plan: BubblewrapBottlePlan = plan
        self.network = Network(plan, self._start_gateway)
        self.broker = BottleBroker(plan, self._start_broker, self)
        self._control = control
        self._process = process
        self._gateway = gateway
        self._ids = itertools.count(1)
        self._lock = threading.RLock()

    @property
    def alive(self) -> bool:
        """Whether PID 1 still runs."""
        return self._control.fileno() >= 0 and self._process.poll() is None

    def start(self, command: Command) -> BubblewrapExecution:
        """Start a command; see `Bottle.exec`."""
        check_user(command.user)
        if command.timeout is None:
            command = replace(command, timeout=self.plan.spec.limits.timeout)
        return self._start(command)

    def cp_in(self, source: Path, target: str, *, take: Collection[str] = ()) -> CopyReport:
        """Copy into the bottle; see `Bottle.cp_in`."""
        plan = plan_copy(Copy(source, PurePosixPath(target), tuple(take)), honour_rules=False)
        self.copy(plan)
        return CopyReport(1 + len(plan.members), plan.size, plan.refused)

    def copy(self, plan: CopyPlan) -> None:
        """Copy what *plan* lists into the bottle.

        Raises:
            UsageError: it cannot be read, or not be written there.
            BottleGone: the bottle died.
        """
        failed: list[OSError] = []

        def write(archive: IO[bytes]) -> None:
            try:
                pack(plan, archive, name=".", uid=GUEST_UID, gid=GUEST_UID)
            except BrokenPipeError:
                raise  # the other end failed and reports why
            except OSError as error:
                failed.append(error)

        target = self._path(str(plan.copy.target))
        done = self.run_python(_UNPACK, target, plan.copy.name, stdin=write).wait()
        if failed or done.returncode:
            why = failed[0].strerror if failed else last_line(done.stderr)
            raise UsageError(f"cannot copy {plan.copy.source} to {plan.copy.target}: {why}")

    def cp_out(
        self, source: str, target: Path, *, take: Collection[str] = (), before: BeforeCopy = nothing
    ) -> CopyReport:
        """Copy out of the bottle; see `Bottle.cp_out`."""
        with self.run_python(_PACK, self._path(source)) as execution:
            return receive(execution, f"cannot copy {source} out of '{self.name}'", target, take, before)

    def run_python(self, program: str, *arguments: str, stdin: Feeder | None = None) -> BubblewrapExecution:
        """Start a Python program of ours in the bottle's home, without a time limit."""
        argv = (str(bwrap.guest_python()), "-I", "-S", "-c", program, *arguments)
        return self._start(Command(argv, cwd=self.plan.guest_home), stdin)

    def snapshot(self) -> AbstractContextManager[BubblewrapBottlePlan]:
        """Keep a copy of its home; see `Bottle.snapshot`."""
        return branch.snapshot(self)

    def close(self) -> None:
        """Close the control socket: PID 1 ends, and with it every process of the bottle.  Idempotent."""
        with self._lock:
            # `shutdown` too, since a forked child may hold a copy of the descriptor
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
            self._control.close()
        try:
            self._process.wait(timeout=_END)
        except subprocess.TimeoutExpired:
            self._process.kill()  # --die-with-parent: the sandbox follows
            self._process.wait()

    def listen(self, ports: Sequence[int], whose: str) -> list[int]:
        """Have guest.py bind ports on the bottle's own 127.0.0.1.

        Args:
            ports: to bind.
            whose: the process that will serve them, for the error: `gateway`.

        Returns:
            A descriptor for each listening socket, in the order of *ports*; the caller closes them.  They come from
            inside the bottle and are untrusted: the process that serves them checks that they are listening sockets.

        Raises:
            BackendUnavailable: a program in the bottle holds one of the ports.
            BottleGone: the bottle died.
        """
        with self._lock:
            self._send({"op": "listen", "ports": list(ports)}, [])
            self._control.settimeout(_ANSWER)
            try:
                answer, fds, _, _ = socket.recv_fds(self._control, 16, len(ports), socket.MSG_CMSG_CLOEXEC)
            except OSError:
                raise self.gone() from None
            finally:
                self._control.settimeout(None)
        if len(fds) == len(ports):
            return fds
        for fd in fds:
            os.close(fd)
        if answer:
            taken = " or ".join(map(str, ports))
            raise BackendUnavailable(
                f"the {whose} of '{self.name}' cannot start: a program in the bottle holds port {taken}",
                hint="Stop that program, or start a fresh bottle.",
            )
        raise self.gone()

    def _start_gateway(self, config: GatewayConfig, on_event: Callable[[Event], None]) -> GatewayClient:
        from bb_jupyter.gateway.audit.audit_log import AuditLog
        from bb_jupyter.gateway.control.gateway_client import GatewayClient

        (fd,) = self.listen([PORTS["egress"]], "gateway")
        begun, self._gateway = self._gateway, None
        try:
            audit = AuditLog(self.slug)
            return GatewayClient.spawn(
                config, {"egress": fd}, audit=audit, on_event=on_event, process=begun, ready=False
            )
        finally:
            os.close(fd)

    def _start_broker(self, config: BrokerConfig, on_event: Callable[[Event], None]) -> BrokerClient:
        from bb_jupyter.broker.broker_client import BrokerClient

        served = services(self.plan)
        fds = self.listen([PORTS[service] for service in served], "broker")
        try:
            return BrokerClient.spawn(config, on_event, listeners=dict(zip(served, fds, strict=True)))
        finally:
            for fd in fds:
                os.close(fd)

    def _start(self, command: Command, feeder: Feeder | None = None) -> BubblewrapExecution:
        """Start *command*, whose missing timeout means no limit; *feeder* writes its input if it has none."""
        stdin = command.stdin
        file = None if stdin is None or isinstance(stdin, bytes) else stdin
        if file is not None:
            feeder = from_file(file)
        request = self._request(command)
        ident = next(self._ids)
        with ExitStack() as ours, ExitStack() as theirs:
            (stdout, to_stdout), (stderr, to_stderr), (status, to_status) = (pipe(ours, theirs) for _ in range(3))
            fds = [memory_file(theirs, request), to_stdout, to_stderr, to_status]
            if isinstance(stdin, bytes):
                fds.append(memory_file(theirs, stdin))
            elif feeder is not None:
                fds.append(fed_pipe(theirs, feeder))
            if self.plan.host_uid:  # only the owner of a pipe may reopen it, as by /dev/stdin
                for fd in fds:
                    os.fchown(fd, self.plan.host_uid, self.plan.host_uid)
            self._send({"op": "exec", "id": ident}, fds)
            ours.pop_all()
        return BubblewrapExecution(
            stdout, stderr, status, lambda: self._kill(ident), name=self.name, timeout=command.timeout
        )

    def _request(self, command: Command) -> bytes:
        return _message(
            {
                "argv": list(command.argv),
                "env": {**self.plan.env, **self.network.env, **self.plan.spec.env, **command.env},
                "cwd": self._path(command.cwd or self.plan.spec.cwd),
            }
        )

    def _path(self, path: str) -> str:
        return posixpath.join(self.plan.guest_home, path)

    def _kill(self, ident: int) -> None:
        with contextlib.suppress(BottleGone):
            self._send({"op": "kill", "id": ident}, [])

    def _send(self, message: dict[str, object], fds: Sequence[int]) -> None:
        try:
            with self._lock:
                socket.send_fds(self._control, [_message(message)], fds)
        except OSError:
            raise self.gone() from None

    def gone(self) -> BottleGone:
        """Return the error for a bottle that has ended."""
        return BottleGone(f"bottle '{self.name}' is gone", hint=f"Run `%%bottle {self.name}` again for a new one.")


def _message(content: dict[str, object]) -> bytes:
    # Version 4 is what every Python from 3.4 on reads; guest.py may run on another one than this process.
    return marshal.dumps(content, 4)
