"""Start a bubblewrap bottle: namespaces by bwrap, limits by control group, files copied in; all let go at the end."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from typing import IO

from bb_jupyter.backend import state
from bb_jupyter.backend.base import OnProgress, Progress
from bb_jupyter.backend.bubblewrap import branch, bwrap, cgroup, spawn
from bb_jupyter.backend.bubblewrap.bottle import BubblewrapBottle
from bb_jupyter.backend.bubblewrap.bottle_plan import BubblewrapBottlePlan
from bb_jupyter.errors import BackendUnavailable
from bb_jupyter.gateway.handoff.spawn_gateway import GatewayProcess
from bb_jupyter.process import deferred_interrupts, procfs

#: Seconds until guest.py must be ready; it takes some 20 ms.
_READY = 60.0


@contextmanager
def launch(
    plan: BubblewrapBottlePlan, provision: Callable[[BubblewrapBottle], None], on_progress: OnProgress
) -> Iterator[BubblewrapBottle]:
    """Run the bottle of *plan* until the context is left; see `BottleBackend.launch`."""
    with deferred_interrupts.UninterruptibleExitStack() as stack:
        on_progress(Progress("start"))
        group = _limited(stack, plan)
        bottle = _sandbox(stack, plan, group, _gateway(stack, plan))
        stack.callback(bottle.broker.close)
        bottle.broker.begin()
        if plan.home_archive:
            branch.restore(bottle, plan.home_archive)
        for copy in plan.copies:
            on_progress(Progress("copy in", line=str(copy)))
            bottle.copy(copy)
        stack.callback(bottle.network.close)
        stack.callback(bottle.broker.begin_close)  # both end at the same time
        provision(bottle)
        yield bottle


def _limited(stack: ExitStack, plan: BubblewrapBottlePlan) -> cgroup.Cgroup | None:
    parents = cgroup.parents()
    if parents is None:
        return None
    with deferred_interrupts.defer_sigint():
        try:
            group = cgroup.create(plan.slug, plan.spec.limits, parents)
        except OSError as error:
            raise BackendUnavailable(f"cannot limit the bottle: {error}", hint="Run `%bottle doctor`.") from None
        if group:
            stack.callback(group.remove)
    return group


def _gateway(stack: ExitStack, plan: BubblewrapBottlePlan) -> GatewayProcess | None:
    """Start the gateway, if the plan has one, before all else: it takes longest."""
    if plan.egress_plan is None:
        return None
    with deferred_interrupts.defer_sigint():
        gateway = GatewayProcess()
        stack.callback(gateway.kill)
    return gateway


def _sandbox(
    stack: ExitStack, plan: BubblewrapBottlePlan, group: cgroup.Cgroup | None, gateway: GatewayProcess | None
) -> BubblewrapBottle:
    """Start bwrap with guest.py, record its pid, put it into its control group, and wait until it is ready."""
    host, guest = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stack.enter_context(host)
    complaints = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    with deferred_interrupts.defer_sigint():
        begun = spawn.begin(plan, guest, complaints)
        stack.callback(_end, plan, host, begun)
    started = begun.result()
    # guest.py starts meanwhile; it runs no command before it gets a request.
    if started.pid:
        _record(plan, started.pid, group)
        if group:
            group.add(started.pid)
    _wait_until_ready(host, started.process, complaints)
    bottle = BubblewrapBottle(plan, host, started.process, gateway)
    stack.callback(bottle.close)
    return bottle


def _end(plan: BubblewrapBottlePlan, host: socket.socket, begun: Future[spawn.Started]) -> None:
    """End the sandbox; it may still be starting."""
    with contextlib.suppress(BackendUnavailable):
        BubblewrapBottle(plan, host, begun.result().process).close()


def _wait_until_ready(host: socket.socket, process: subprocess.Popen[bytes], complaints: IO[bytes]) -> None:
    host.settimeout(_READY)
    try:
        ready = host.recv(16)
    except TimeoutError:
        raise BackendUnavailable(f"the sandbox did not start within {_READY:.0f} s") from None
    host.settimeout(None)
    if ready:
        return
    process.wait()
    complaints.seek(0)
    why = complaints.read(2000).decode("utf-8", "replace").strip() or f"bwrap ended with {process.returncode}"
    closed = bwrap.closed()
    hint = closed.fix if closed else "Run `%bottle doctor`."
    raise BackendUnavailable(f"the sandbox did not start: {why.splitlines()[-1]}", hint=hint)


def _record(plan: BubblewrapBottlePlan, pid: int, group: cgroup.Cgroup | None) -> None:
    """Record what cleanup needs if this process is killed."""
    folders = [str(folder) for folder in group.folders] if group else []
    state.add_details(plan.slug, pid=pid, start_time=procfs.start_time(pid), cgroups=folders)
