"""Start bwrap and learn whom it started: to its end, whatever interrupts who waits for it.

The owner may be killed at any moment, too.  Then nothing stays: bwrap gets no SIGKILL of its own with it, for what it
has cloned by then would wait for it for ever.  It goes on with what it holds itself (both ends of the pipe that it
tells its child's pid to) or finds at an end, and guest.py ends as soon as it runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import IO

from bb_jupyter.backend.bubblewrap import sandbox, seccomp, users
from bb_jupyter.backend.bubblewrap.bottle_plan import BubblewrapBottlePlan
from bb_jupyter.backend.bubblewrap.pipes import memory_file, pipe
from bb_jupyter.errors import BackendUnavailable
from bb_jupyter.home import bot_bottle_home


@dataclass(frozen=True)
class Started:
    """A sandbox that has begun to start.

    Attributes:
        process: bwrap.
        pid: what the sandbox's PID 1 is here; 0 when bwrap failed before it had one.
    """

    process: subprocess.Popen[bytes]
    pid: int


def begin(plan: BubblewrapBottlePlan, control: socket.socket, complaints: IO[bytes]) -> Future[Started]:
    """Begin to start the sandbox of *plan*; does not wait.

    Args:
        plan: what to start.
        control: the guest's end of the control socket; closed here, for the host's end tells when the guest is gone.
        complaints: file that gets what bwrap and guest.py complain of.

    Returns:
        What was started.  It raises `BackendUnavailable` when the agent cannot have a user of its own.
    """
    return _starters().submit(_start, plan, control, complaints)


@cache
def _starters() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4, thread_name_prefix="bottle-spawner")


def _start(plan: BubblewrapBottlePlan, control: socket.socket, complaints: IO[bytes]) -> Started:
    with ExitStack() as ours:
        with control, ExitStack() as theirs:
            info, write_info = pipe(ours, theirs)
            # bwrap waits until our end of it is closed.
            mapped = pipe(theirs, ours)[0] if plan.host_uid else None
            filter_fd = memory_file(theirs, seccomp.program()) if seccomp.supported() else None
            owner = _this_process(theirs)
            files = open_files(theirs)
            argv = sandbox.command(
                plan.spec.name,
                disk=plan.spec.limits.disk,
                files=files,
                control=control.fileno(),
                owner=owner,
                info=write_info,
                seccomp=filter_fd,
                rlimits=plan.rlimits,
                binds=plan.agent_provision.host_paths if plan.agent_provision else (),
                mapped=mapped,
            )
            fds = [control.fileno(), info, write_info, mapped, filter_fd, owner, *files.values()]
            process = _spawn(argv, fds, complaints)
        pid = _first_process(info)
        if not pid or not plan.host_uid:
            return Started(process, pid)
        try:
            users.map_users(pid, plan.host_uid)
        except OSError as error:
            ours.close()
            process.wait()  # without its users it fails by itself
            why = f"cannot give the agent a user of its own: {error.strerror}"
            raise BackendUnavailable(why, hint="Run Jupyter as an ordinary user.") from None
        return Started(process, pid)


def open_files(theirs: ExitStack) -> dict[str, int]:
    """Open what the sandbox gets copies of."""
    program, content = sandbox.guest_program()
    files = {program: memory_file(theirs, content)}
    for target, source in sandbox.host_files():
        with contextlib.suppress(OSError):
            files[target] = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
            theirs.callback(os.close, files[target])
    return files


def _this_process(theirs: ExitStack) -> int | None:
    """Return a descriptor that tells when this process is dead, even where a child that it forked lives on."""
    try:
        fd = os.pidfd_open(os.getpid())
    except (OSError, AttributeError):  # Linux before 5.3, or a Python that was built on one
        return None
    theirs.callback(os.close, fd)
    return fd


def _spawn(argv: list[str], fds: list[int | None], complaints: IO[bytes]) -> subprocess.Popen[bytes]:
    # A session of its own: Jupyter interrupts and kills the whole process group of a kernel.  And bwrap gets none of
    # this process's environment, where secrets may be: only what tells whose sandbox it is.
    return subprocess.Popen(
        argv,
        pass_fds=[fd for fd in fds if fd is not None],
        env={"BOT_BOTTLE_HOME": str(bot_bottle_home())},
        stdin=subprocess.DEVNULL,
        stdout=complaints,
        stderr=complaints,
        start_new_session=True,
    )


def _first_process(info: int) -> int:
    with open(info, "rb", closefd=False) as file:
        text = file.read()
    return int(json.loads(text)["child-pid"]) if text else 0
