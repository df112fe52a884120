"""A command in a container: its output read as it comes, its exit status asked for at the end, and how it is killed.

Engines have no request that kills one command with all it started (docker-py#3155).
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Self, TypeVar

import requests
from docker.errors import APIError, DockerException

from bb_jupyter.agent import process_tree
from bb_jupyter.backend.execution import KILLED, Chunk, Execution
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.container_engine.engine import Engine, text_of
from bb_jupyter.backend.shared.container_engine.stream import RawStream, Stdin
from bb_jupyter.errors import BottleError, BottleGone, UsageError
from bb_jupyter.process.waiting import wait_until

_T = TypeVar("_T")

#: The command is started by a shell that first tells its pid, which stays that of the command: it is what `kill` needs.
#: Its first argument is the working directory, empty for the container's own.
HEADER = ["/bin/sh", "-c", 'echo $$; [ -z "$1" ] || cd "$1" || exit 126; shift; exec "$@"', "sh"]
#: How engines say that an image does not know a user.
NO_USER = "unable to find user"
#: Longest header: a pid and a newline.
_MAX_HEADER = 12
#: Most bytes of what the engine says instead.
_MAX_COMPLAINT = 2000
#: Seconds that a command may take to start, on an engine that has much else to do.
_START = 120.0
#: Seconds of silence after which the engine is asked whether the command has ended: what it started in the background
#: may hold its output open.  Doubled each time it has not.
_SILENCE, _MAX_SILENCE = 0.1, 3.2
#: Seconds that output is awaited once the command itself has ended.
_LINGER = 0.05
#: Seconds that the exit status of a command is awaited after its output has ended.
_PATIENCE = 10.0
#: How often a bottle is looked at before it counts as alive.
_LOOKS = 3
#: Seconds between two looks for an exit status.
_INTERVAL = 0.01
#: Processes beyond the limit that PID 1 gets for a moment, and how long in seconds.
_MORE_PIDS, _REAPING = 16, 0.3
#: Seconds that a kill may take.
_KILL_TIME = 5.0


class ContainerExecution(Execution):
    """Reads a command's connection to the engine.

    Args:
        engine: where the bottle runs.
        container: name of the container.
        exec_id: an exec that was created with `HEADER` and not started.
        stdin: its input.
        user: user it runs as; empty for the container's.
        name: the bottle's, for errors.
        timeout: seconds.

    Raises:
        APIError: the engine refuses to start it.
        UsageError: the user does not exist in the bottle.
        BottleGone: the bottle died meanwhile.
    """

    def __init__(
        self,
        engine: Engine,
        container: str,
        exec_id: str,
        *,
        stdin: Stdin | None,
        user: str,
        name: str,
        timeout: float | None,
    ) -> None:
        super().__init__(timeout=timeout)
        self._engine, self._container, self._exec_id = engine, container, exec_id
        self._user, self._name = user, name
        self._silence = _SILENCE
        self._dead = False
        self._early: list[Chunk] = []
        self._noise = re.compile(engine.noise) if engine.noise else None
        self._stream = RawStream.of_exec(engine.client, exec_id)
        self._pid = self._read_header()
        if stdin is not None:
            self._stream.give(stdin)  # not before: podman loses input that comes before the command runs

    @classmethod
    def begin(
        cls,
        engine: Engine,
        plan: ContainerBottlePlan,
        argv: Sequence[str],
        *,
        stdin: bytes | IO[bytes] | None,
        stdin_follows: bool = False,
        env: Mapping[str, str],
        user: str,
        timeout: float | None,
    ) -> Self:
        """Create and start a command in the bottle of *plan*; *argv* begins with `HEADER` and the working directory.

        With *stdin_follows* its input comes later, by `given`.

        Raises:
            APIError: the engine refuses.
            UsageError: the user does not exist in the bottle.
            BottleGone: the bottle died meanwhile.
        """
        try:
            created = engine.client.exec_create(
                plan.container, list(argv), stdin=stdin_follows or stdin is not None, environment=dict(env), user=user
            )
            return cls(
                engine, plan.container, created["Id"], stdin=None if stdin is None else Stdin(stdin),
                user=user, name=plan.spec.name, timeout=timeout,
            )  # fmt: skip
        except APIError as error:
            if NO_USER in text_of(error):
                raise _no_user(user) from None
            raise

    def given(self, stdin: Stdin) -> Self:
        """Return this execution of a command that was started before its input was there."""
        self._stream.give(stdin)
        return self

    def _read_header(self) -> int:
        """Read the first line of stdout, the pid, and keep what came with it."""
        head = self._read_head(lambda head: b"\n" in head or len(head) > _MAX_HEADER)
        line, _, rest = head.partition(b"\n")
        if not line.isdigit() or int(line) < 2:
            raise self._not_started(head)
        if rest:
            self._early.insert(0, Chunk("stdout", rest))
        return int(line)

    def _read_head(self, enough: Callable[[bytes], bool]) -> bytes:
        """Read stdout until there is enough of it, not for ever: a bottle's shell may not be what it was."""
        head = b""
        deadline = time.monotonic() + _START
        while not enough(head) and not self._stream.ended and (left := deadline - time.monotonic()) > 0:
            self._stream.wait(left)
            for chunk in self._stream.read():
                if chunk.stream == "stdout" and not enough(head):
                    head += chunk.data
                else:
                    self._early.append(chunk)
        return head

    def _not_started(self, head: bytes) -> BottleError:
        """Return the error for an exec that told no pid: what came is the engine's complaint."""
        head += self._read_head(lambda more: len(more) >= _MAX_COMPLAINT)
        self._close()
        text = " ".join(head[:_MAX_COMPLAINT].decode("utf-8", "replace").split())
        if NO_USER in text:
            return _no_user(self._user)
        return self._gone() or UsageError(f"cannot start a command in bottle '{self._name}': {text or 'no answer'}")

    def _read(self, timeout: float | None) -> Sequence[Chunk] | int:
        if self._early:
            chunks, self._early = self._early, []
            return chunks
        patience = self._silence if timeout is None else min(timeout, self._silence)
        asked = time.monotonic()
        self._stream.wait(patience)
        if chunks := self._output():
            self._silence = _SILENCE
            return chunks
        if self._stream.ended:
            return self._end()
        if time.monotonic() - asked >= self._silence:
            return self._after_silence()
        return ()

    def _after_silence(self) -> Sequence[Chunk] | int:
        """Ask whether the command has ended although its output has not; what still comes is read for a moment."""
        self._silence = min(self._silence * 2, _MAX_SILENCE)
        if not self._dead and self._ask(lambda: self._engine.client.exec_inspect(self._exec_id)["Running"]):
            return ()
        self._stream.wait(_LINGER)
        return self._output() or self._end()

    def _output(self) -> list[Chunk]:
        """Return the output that is there, without what the engine itself wrote."""
        chunks = self._stream.read()
        if self._noise is None:
            return chunks
        return [chunk for chunk in chunks if not (chunk.stream == "stderr" and self._noise.fullmatch(chunk.data))]

    def _end(self) -> int:
        asked_for = self._killed or self._timed_out
        # The engine tells of an end up to two seconds late while somebody holds the output of another command open.
        status = self._ask(lambda: exit_status(self._engine, self._exec_id, patience=0 if asked_for else _PATIENCE))
        if status in (None, KILLED) and not asked_for and (gone := self._gone()):
            raise gone
        return KILLED if status is None else status

    def _ask(self, question: Callable[[], _T]) -> _T:
        try:
            return question()
        except (DockerException, requests.RequestException) as error:
            raise (self._gone() if self._engine.is_gone(error) else None) or self._engine.explain(
                error, "follow a command"
            ) from None

    def _gone(self) -> BottleGone | None:
        """Return the error for a dead bottle.  Its commands die a moment before the engine says so of itself."""
        for _ in range(_LOOKS):
            if not self._engine.is_running(self._container):
                return gone(self._name)
            time.sleep(_LINGER)
        return None

    def _send_kill(self) -> None:
        kill_command(self._engine, self._container, self._pid, self._user)
        self._dead, self._silence = True, _SILENCE

    def _close(self) -> None:
        self._stream.close()


def _no_user(user: str) -> UsageError:
    return UsageError(f"the bottle has no user '{user}'", hint="Use a name of its image, or a number.")


def gone(name: str) -> BottleGone:
    """Return the error that says that the bottle *name* is dead."""
    return BottleGone(f"bottle '{name}' is gone", hint=f"Run `%%bottle {name}` again for a new one.")


def kill_command(engine: Engine, container: str, pid: int, user: str) -> None:
    """Kill process *pid* of a container, its session, its group and all their descendants.

    Where no command can start any more (a fork bomb up to the limit of pids), PID 1 kills all that its user runs; the
    bottle stays.  No error when the command is over or the container is gone.

    Args:
        engine: where the bottle runs.
        container: its name.
        pid: the command's process id in the container; it leads a session.
        user: user that the command runs as; empty for the container's.
    """
    with contextlib.suppress(DockerException, requests.RequestException):
        if not _killed(engine, container, pid, user):
            _kill_all(engine, container)


def _killed(engine: Engine, container: str, pid: int, user: str) -> bool:
    """Run the script; its word is taken, for the engine may tell of its end two seconds later."""
    try:
        killer = engine.client.exec_create(container, process_tree.kill_command(pid), user=user)["Id"]
        stream = RawStream.of_exec(engine.client, killer)
    except APIError:
        return False
    said = b""
    deadline = time.monotonic() + _KILL_TIME
    with contextlib.closing(stream):
        while not stream.ended and len(said) < len(process_tree.GONE) and (left := deadline - time.monotonic()) > 0:
            stream.wait(left)
            said += b"".join(chunk.data for chunk in stream.read())
    return said == process_tree.GONE


def _kill_all(engine: Engine, container: str) -> None:
    """Have PID 1 kill all others.  It needs a new child while the dead still count: the limit of pids is lifted."""
    limit = engine.client.inspect_container(container)["HostConfig"]["PidsLimit"]
    if limit:
        engine.limit_pids(container, limit + _MORE_PIDS)
    engine.client.kill(container, "USR1")
    if limit:
        time.sleep(_REAPING)
        engine.limit_pids(container, limit)


def exit_status(engine: Engine, exec_id: str, *, patience: float) -> int | None:
    """Return the exit status of an exec whose output has ended; `None` when *patience* seconds have not brought it.

    Raises:
        APIError: the engine knows no such exec.
    """

    def ended() -> list[int]:
        state = engine.client.exec_inspect(exec_id)
        return [] if state["Running"] or state["ExitCode"] is None else [int(state["ExitCode"])]

    found = wait_until(ended, timeout=patience, poll=_INTERVAL)
    return found[0] if found else None
