"""A command in a machine: the SDK's stream read by a thread, its frames decoded, its end known by a word of its own.

What a command leaves running in the background may hold its output open for ever.  Its status comes before that, so the
command is over soon after it; the thread goes on reading, for to close the SDK's stream would kill what was left.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bb_jupyter.backend.execution import KILLED, Chunk, Execution, Stream
from bb_jupyter.backend.smolmachines import sdk, shell
from bb_jupyter.errors import BackendUnavailable, BottleError, UsageError

if TYPE_CHECKING:
    from smol import ExecStream

_log = logging.getLogger(__name__)
#: Chunks that wait for who reads them; the machine waits then, too.
_WAITING = 64
#: Seconds of silence after the status until the command's output counts as read.
_LINGER = 0.25
#: Seconds that a kill waits for the command's pid, when it has not started yet.
_STARTING = 10.0
_SPACE = re.compile(r"[^A-Za-z0-9+/=.]+")


class SmolExecution(Execution):
    """Reads a command's stream.

    Exit 137 that neither a kill nor a time limit of ours asked for, before any output, is the machine's doing (it was
    not up yet, or the host was short of memory): the command is started once more, and that is logged.

    Args:
        start: starts the command and returns its stream.
        kill: kills the command whose pid it is given, with all it started.
        nonce: what the command's status follows on standard error.
        is_alive: tells whether the machine runs.
        name: the bottle's, for errors.
        timeout: seconds.
        on_close: called once, when nothing of the command is needed any more.

    Raises:
        BottleGone: the machine is gone.
        BackendUnavailable: it does not answer.
    """

    def __init__(
        self,
        start: Callable[[], ExecStream],
        kill: Callable[[int], None],
        *,
        nonce: str,
        is_alive: Callable[[], bool],
        name: str,
        timeout: float | None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(timeout=timeout)
        self._start, self._kill, self._is_alive, self._on_close = start, kill, is_alive, on_close
        self._nonce, self._name = nonce, name
        self._run = _Run(start(), nonce)
        self._returncode: int | None = None
        self._quiet_since = 0.0
        self._passed_on = self._retried = self._closed = False

    def _read(self, timeout: float | None) -> Sequence[Chunk] | int:
        if self._returncode is not None:
            left = max(0.0, self._quiet_since + _LINGER - time.monotonic())
            timeout = left if timeout is None else min(timeout, left)
        try:
            item = self._run.queue.get(timeout=timeout)
        except queue.Empty:
            over = self._returncode is not None and time.monotonic() >= self._quiet_since + _LINGER
            return self._ended(self._returncode or 0) if over else ()
        self._quiet_since = time.monotonic()
        if isinstance(item, Chunk):
            self._passed_on = True
            return (item,)
        if isinstance(item, BaseException):
            if self._killed or self._timed_out:
                return KILLED  # what was asked for, whatever became of the connection
            raise self._lost(item)
        if self._run.over:
            return self._ended(item if self._returncode is None else self._returncode)
        self._returncode = item
        return ()

    def _ended(self, status: int) -> Sequence[Chunk] | int:
        if status != KILLED or self._killed or self._timed_out:
            return status
        if not self._is_alive():
            raise sdk.gone(self._name)
        if self._passed_on or self._retried:
            return status
        _log.warning("a command in bottle '%s' ended with 137 before any output; it is started once more", self._name)
        self._retried, self._returncode = True, None
        self._run.abandon()
        self._run = _Run(self._start(), self._nonce)
        return ()

    def _lost(self, error: BaseException) -> BaseException:
        from smol import SmolError

        if not self._is_alive():
            return sdk.gone(self._name)
        if isinstance(error, SmolError):
            return sdk.explain(error, f"follow a command in bottle '{self._name}'")
        return error

    def _send_kill(self) -> None:
        run = self._run

        def act() -> None:
            if run.started.wait(_STARTING) and run.pid:
                self._kill(run.pid)
            else:
                run.stream.kill()

        # Killing takes a request of its own, and nobody waits for it: the end comes by the stream.
        threading.Thread(target=act, name="bottle-kill", daemon=True).start()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._run.abandon()
            self._on_close()


class _Run:
    """One start of a command: a thread that reads its stream into a queue.

    Attributes:
        queue: chunks, then the exit status; twice where the status came before the end; or an error.
        over: the stream has ended.
        pid: of the command in the machine; 0 until it is known.
        started: set once it is known, or never will be.
    """

    def __init__(self, stream: ExecStream, nonce: str) -> None:
        self.stream = stream
        self.queue: queue.Queue[Chunk | int | BaseException] = queue.Queue(_WAITING)
        self.over = False
        self.pid = 0
        self.started = threading.Event()
        self._abandoned = False
        self._head = ""
        self._frames = {"stdout": _Frames(), "stderr": _Frames()}
        self._status = _Status(nonce)
        threading.Thread(target=self._read, name="bottle-stream", daemon=True).start()

    def abandon(self) -> None:
        """Throw away what still comes."""
        self._abandoned = True

    def _read(self) -> None:
        ended: int | BaseException
        try:
            ended = self._read_events()
        except Exception as error:
            ended = error
        self.over = True
        self.started.set()
        self._put(ended)

    def _read_events(self) -> int:
        for event in self.stream:
            kind = event["kind"]
            if kind == "exit":
                return self._status.value if self._status.value is not None else int(event["exit_code"])
            if kind == "error":
                raise refused(str(event["message"]), self._complaint())
            self._take(kind, event["data"])
        if self._status.value is None:
            raise BackendUnavailable("the connection was lost while a command ran", hint="It may still run.")
        return self._status.value

    def _take(self, kind: Stream, text: str) -> None:
        if not self.pid and kind == "stdout":
            text = self._read_header(text)
        data = self._frames[kind].decode(text)
        known = self._status.value is not None
        if kind == "stderr":
            data = self._status.strip(data)
        if data:
            self._put(Chunk(kind, data))
        if not known and self._status.value is not None:
            self._put(self._status.value)

    def _read_header(self, text: str) -> str:
        """Look for the pid in what came first, and return what follows it; nothing until it is whole."""
        self._head += text
        found = shell.HEADER.search(self._head)
        if found is None:
            return ""
        self.pid = int(found[1])
        self.started.set()
        return self._head[found.end() :]

    def _complaint(self) -> str:
        return self._frames["stderr"].rest

    def _put(self, item: Chunk | int | BaseException) -> None:
        while not self._abandoned:
            with contextlib.suppress(queue.Full):
                self.queue.put(item, timeout=0.1)
                return


class _Frames:
    """Base64 in pieces, a dot behind each; how the SDK cuts its text does not matter."""

    def __init__(self) -> None:
        self.rest = ""

    def decode(self, text: str) -> bytes:
        *whole, self.rest = (self.rest + _SPACE.sub("", text)).split(".")
        try:
            return b"".join(base64.b64decode(frame, validate=True) for frame in whole)
        except binascii.Error:
            raise BackendUnavailable("what came from the machine is not what was sent there") from None


class _Status:
    """Finds the exit status in the bytes of standard error, and takes it out."""

    def __init__(self, nonce: str) -> None:
        self._mark = f"\n{nonce} ".encode()
        self._held = b""
        self.value: int | None = None

    def strip(self, data: bytes) -> bytes:
        """Return *data* without the status; what may be its beginning is kept back."""
        data = self._held + data
        before, mark, after = data.partition(self._mark)
        if mark:
            number, end, rest = after.partition(b"\n")
            if end and number.isdigit():
                self.value, self._held = int(number), b""
                return before + rest
            self._held = mark + after
            return before
        keep = next((n for n in range(min(len(data), len(self._mark)), 0, -1) if data.endswith(self._mark[:n])), 0)
        self._held = data[len(data) - keep :]
        return data[: len(data) - keep]


def refused(message: str, more: str = "") -> BottleError:
    """Return the error for a command that the machine would not start."""
    text = " ".join(f"{message} {more}".split())[:400]
    if "user" in text.lower():
        return UsageError(f"the bottle cannot run that: {text}", hint="Use a user that its image knows, or a number.")
    return BackendUnavailable(f"the machine refuses to start a command: {text}")
