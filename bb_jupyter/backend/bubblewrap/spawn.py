"""Start bwrap and read the pid of the sandbox's first process, on a thread that no interrupt cuts off.

The owner (this process) may be killed while bwrap starts; still no process may stay behind:

1. bwrap clones the sandbox's first process, which waits until bwrap has written its user map.
2. If bwrap were killed together with the owner just then, the clone would wait for ever.  So bwrap does not die with
   its parent (no `PR_SET_PDEATHSIG`).
3. bwrap goes on instead: it holds both ends of the pipe that it writes the pid to, so that the write cannot fail, and
   it reads end-of-file from the pipes that the owner held.
4. guest.py starts, sees that its owner is dead, and ends the sandbox.
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
        pid: pid of the sandbox's PID 1 in this process's namespace; 0 if bwrap failed before it had one.
    """

    process: subprocess.Popen[bytes]
    pid: int


def begin(plan: BubblewrapBottlePlan, control: socket.socket, complaints: IO[bytes]) -> Future[Started]:
    """Begin to start the sandbox of *plan*; does not wait.

    Args:
        plan: what to start.
        control: the guest's end of the control socket; closed here, so that the host's end reads end-of-file once the
            guest is gone.
        complaints: file for the standard output and error of bwrap and guest.py.

    Returns:
        The sandbox.  `result` raises `BackendUnavailable` if the agent cannot have a user of its own.
    """
    return _starters().submit(_start, plan, control, complaints)


@cache
def _starters() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4, thread_name_prefix="bottle-spawner")


def _start(plan: BubblewrapBottlePlan, control: socket.socket, complaints: IO[bytes]) -> Started:
    with ExitStack() as ours:
        with control, ExitStack() as theirs:
            info, write_info = pipe(ours, theirs)
            # bwrap waits until this process closes its end.
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
            process.wait()  # bwrap fails without its user map
            why = f"cannot give the agent a user of its own: {error.strerror}"
            raise BackendUnavailable(why, hint="Run Jupyter as an ordinary user.") from None
        return Started(process, pid)


def open_files(theirs: ExitStack) -> dict[str, int]:
    """Open the files that the sandbox gets copies of: path in the sandbox → descriptor."""
    program, content = sandbox.guest_program()
    files = {program: memory_file(theirs, content)}
    for target, source in sandbox.host_files():
        with contextlib.suppress(OSError):
            files[target] = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
            theirs.callback(os.close, files[target])
    return files


def _this_process(theirs: ExitStack) -> int | None:
    """Return a pidfd of this process: readable once it is dead, even if a forked child lives on."""
    try:
        fd = os.pidfd_open(os.getpid())
    except (OSError, AttributeError):  # Linux before 5.3, or a Python that was built on one
        return None
    theirs.callback(os.close, fd)
    return fd


def _spawn(argv: list[str], fds: list[int | None], complaints: IO[bytes]) -> subprocess.Popen[bytes]:
    # A session of its own: Jupyter interrupts and kills the whole process group of a kernel.  The environment of this
    # process may hold secrets, so bwrap gets only the variable that shows whose sandbox it is.
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
