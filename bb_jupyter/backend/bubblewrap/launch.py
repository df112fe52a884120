"""Start a bubblewrap bottle: namespaces by bwrap, limits by control group, files copied in; all let go at the end."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import IO

from bb_jupyter.backend import state
from bb_jupyter.backend.base import OnProgress, Progress
from bb_jupyter.backend.bubblewrap import branch, bwrap, cgroup, seccomp, users
from bb_jupyter.backend.bubblewrap.bottle import BubblewrapBottle
from bb_jupyter.backend.bubblewrap.bottle_plan import BubblewrapBottlePlan
from bb_jupyter.backend.bubblewrap.pipes import memory_file, pipe
from bb_jupyter.backend.owner import process_start_time
from bb_jupyter.errors import BackendUnavailable
from bb_jupyter.gateway.host_process import GatewayProcess
from bb_jupyter.home import bot_bottle_home

#: Seconds until guest.py must have said that it is ready; it takes some 20 ms.
_READY = 60.0


@contextmanager
def launch(
    plan: BubblewrapBottlePlan, provision: Callable[[BubblewrapBottle], None], on_progress: OnProgress
) -> Iterator[BubblewrapBottle]:
    """Run the bottle of *plan* until the context is left; see `BottleBackend.launch`."""
    with ExitStack() as stack:
        on_progress(Progress("start"))
        group = _limited(stack, plan)
        bottle = _sandbox(stack, plan, group, _gateway(stack, plan))
        stack.callback(bottle.desk.close)
        bottle.desk.begin()
        if plan.home_archive:
            branch.restore(bottle, plan.home_archive)
        for copy in plan.copies:
            on_progress(Progress("copy in", line=str(copy)))
            bottle.copy(copy)
        stack.callback(bottle.network.close)
        stack.callback(bottle.desk.begin_close)  # both end at the same time
        provision(bottle)
        yield bottle


def _limited(stack: ExitStack, plan: BubblewrapBottlePlan) -> cgroup.Cgroup | None:
    parents = cgroup.parents()
    if parents is None:
        return None
    try:
        group = cgroup.create(plan.slug, plan.spec.limits, parents)
    except OSError as error:
        raise BackendUnavailable(f"cannot limit the bottle: {error}", hint="`%bottle doctor` tells more.") from None
    if group:
        stack.callback(group.remove)
    return group


def _gateway(stack: ExitStack, plan: BubblewrapBottlePlan) -> GatewayProcess | None:
    """Start the gateway first, if there shall be one: it takes longest."""
    if plan.egress_plan is None:
        return None
    gateway = GatewayProcess()
    stack.callback(gateway.kill)
    return gateway


def _sandbox(
    stack: ExitStack, plan: BubblewrapBottlePlan, group: cgroup.Cgroup | None, gateway: GatewayProcess | None
) -> BubblewrapBottle:
    """Start bwrap with guest.py, put it into its control group, and wait until it answers."""
    host, guest = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stack.enter_context(host)
    complaints = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    ours = stack.enter_context(ExitStack())
    with guest, ExitStack() as theirs:
        info, write_info = pipe(ours, theirs)
        filter_fd = memory_file(theirs, seccomp.program()) if seccomp.supported() else None
        # bwrap waits until our end of it is closed.
        mapped = pipe(theirs, ours)[0] if plan.host_uid else None
        argv = bwrap.sandbox(
            plan.spec.name,
            disk=plan.spec.limits.disk,
            control=guest.fileno(),
            info=write_info,
            seccomp=filter_fd,
            rlimits=plan.rlimits,
            binds=plan.agent_provision.host_paths if plan.agent_provision else (),
            mapped=mapped,
        )
        fds = [fd for fd in (guest.fileno(), write_info, filter_fd, mapped) if fd is not None]
        process = _spawn(argv, fds, complaints)
    bottle = BubblewrapBottle(plan, host, process, gateway)
    stack.callback(bottle.close)
    pid = _first_process(info)
    if pid and plan.host_uid:
        _map_users(pid, plan.host_uid)
    ours.close()
    # The kernel takes its time to move a process: guest.py starts meanwhile, and runs nothing before it is asked to.
    if pid and group:
        group.add(pid)
    _wait_until_ready(host, process, complaints)
    _remember(plan, pid, group)
    return bottle


def _spawn(argv: list[str], fds: list[int], complaints: IO[bytes]) -> subprocess.Popen[bytes]:
    # --die-with-parent follows the thread that forks, not the process: one that lives as long as the process does it.
    # bwrap gets none of this process's environment, where secrets may be: only what tells whose sandbox it is.
    env = {"BOT_BOTTLE_HOME": str(bot_bottle_home())}

    # A session of its own: Jupyter interrupts and kills the whole process group of a kernel.
    def start() -> subprocess.Popen[bytes]:
        none = subprocess.DEVNULL
        return subprocess.Popen(
            argv, pass_fds=fds, env=env, stdin=none, stdout=complaints, stderr=complaints, start_new_session=True
        )

    return _spawner().submit(start).result()


@cache
def _spawner() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="bottle-spawner")


def _first_process(info: int) -> int:
    """Read from bwrap the pid that the sandbox's PID 1 has here; 0 when bwrap failed before it had one."""
    with open(info, "rb", closefd=False) as file:
        text = file.read()
    return int(json.loads(text)["child-pid"]) if text else 0


def _map_users(pid: int, uid: int) -> None:
    try:
        users.map_users(pid, uid)
    except OSError as error:
        raise BackendUnavailable(
            f"cannot give the agent a user of its own: {error.strerror}", hint="Run Jupyter as an ordinary user."
        ) from None


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
    hint = closed.fix if closed else "`%bottle doctor` tells more."
    raise BackendUnavailable(f"the sandbox did not start: {why.splitlines()[-1]}", hint=hint)


def _remember(plan: BubblewrapBottlePlan, pid: int, group: cgroup.Cgroup | None) -> None:
    """Write down what cleanup needs if this process is killed."""
    folders = [str(folder) for folder in group.folders] if group else []
    state.add_details(plan.slug, pid=pid, start_time=process_start_time(pid), cgroups=folders)
