"""A command in a container: its frames read as they come, its exit status asked for at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Self, TypeVar

import docker
import requests
from docker.errors import DockerException

from bb_jupyter.backend.execution import KILLED, Chunk, Execution
from bb_jupyter.backend.shared.container_engine import engine
from bb_jupyter.backend.shared.container_engine.kill import exit_status, kill_command
from bb_jupyter.backend.shared.container_engine.stdin import Stdin
from bb_jupyter.backend.shared.container_engine.stream import RawStream
from bb_jupyter.errors import BottleError, BottleGone, UsageError

_T = TypeVar("_T")

#: The command is started by a shell that first tells its pid, which stays that of the command: it is what `kill` needs.
#: Its first argument is the working directory, empty for the container's own.
HEADER = ["/bin/sh", "-c", 'echo $$; [ -z "$1" ] || cd "$1" || exit 126; shift; exec "$@"', "sh"]
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


class ContainerExecution(Execution):
    """Reads a command's connection to the engine.

    Args:
        client: the engine.
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
        client: docker.APIClient,
        container: str,
        exec_id: str,
        *,
        stdin: Stdin | None,
        user: str,
        name: str,
        timeout: float | None,
    ) -> None:
        super().__init__(timeout=timeout)
        self._client, self._container, self._exec_id = client, container, exec_id
        self._user, self._name = user, name
        self._silence = _SILENCE
        self._dead = False
        self._early: list[Chunk] = []
        self._stream = RawStream.of_exec(client, exec_id, stdin)
        self._pid = self._read_header()

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
        if "unable to find user" in text:
            return UsageError(f"the bottle has no user '{self._user}'", hint="Use a name of its image, or a number.")
        return self._gone() or UsageError(f"cannot start a command in bottle '{self._name}': {text or 'no answer'}")

    def _read(self, timeout: float | None) -> Sequence[Chunk] | int:
        if self._early:
            chunks, self._early = self._early, []
            return chunks
        patience = self._silence if timeout is None else min(timeout, self._silence)
        asked = time.monotonic()
        self._stream.wait(patience)
        if chunks := self._stream.read():
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
        if not self._dead and self._ask(lambda: self._client.exec_inspect(self._exec_id)["Running"]):
            return ()
        self._stream.wait(_LINGER)
        return self._stream.read() or self._end()

    def _end(self) -> int:
        asked_for = self._killed or self._timed_out
        # The engine tells of an end up to two seconds late while somebody holds the output of another command open.
        status = self._ask(lambda: exit_status(self._client, self._exec_id, patience=0 if asked_for else _PATIENCE))
        if status in (None, KILLED) and not asked_for and (gone := self._gone()):
            raise gone
        return KILLED if status is None else status

    def _ask(self, question: Callable[[], _T]) -> _T:
        try:
            return question()
        except (DockerException, requests.RequestException) as error:
            raise (self._gone() if engine.is_gone(error) else None) or engine.explain(
                error, "follow a command"
            ) from None

    def _gone(self) -> BottleGone | None:
        """Return the error for a dead bottle.  Its commands die a moment before the engine says so of itself."""
        for _ in range(_LOOKS):
            if not engine.is_running(self._client, self._container):
                return gone(self._name)
            time.sleep(_LINGER)
        return None

    def _send_kill(self) -> None:
        kill_command(self._client, self._container, self._pid, self._user)
        self._dead, self._silence = True, _SILENCE

    def _close(self) -> None:
        self._stream.close()


def gone(name: str) -> BottleGone:
    """Return the error that says that the bottle *name* is dead."""
    return BottleGone(f"bottle '{name}' is gone", hint=f"Run `%%bottle {name}` again for a new one.")
