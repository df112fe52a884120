"""A command in a machine: a thread reads the SDK's stream and decodes its frames.

Background processes of a command may hold its output open for ever.  So the exit status comes on each of its streams,
after all that the command wrote itself; with the second status the command is over.  The thread goes on reading, since
closing the SDK's stream would kill the background processes.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import queue
import re
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bb_jupyter.backend.execution import KILLED, Chunk, Execution, Stream
from bb_jupyter.backend.smolmachines import sdk, shell
from bb_jupyter.errors import BackendUnavailable, BottleError, UsageError

if TYPE_CHECKING:
    from smol import ExecStream

_log = logging.getLogger(__name__)
#: Most chunks that wait for the reader; beyond that the machine waits.
_WAITING = 64
#: Seconds to wait for a kill.
_PATIENCE = 5.0
#: Seconds that a kill waits for the pid of a command that has not started yet.
_STARTING = 10.0
_SPACE = re.compile(r"[^A-Za-z0-9+/=.]+")


class SmolExecution(Execution):
    """Reads a command's stream.

    If a command exits with 137 before any output, and neither `kill` nor the time limit caused that, the machine did
    (it was not up yet, or the host was short of memory).  The command is then started once more, which is logged.

    Args:
        start: starts the command and returns its stream.
        kill: kills the command with the given pid, and all that it started.
        nonce: random text before the exit status on the command's streams.
        is_alive: returns whether the machine runs.
        name: the bottle's, for errors.
        timeout: seconds.
        on_close: called once, when the command is over.

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
        self._passed_on = self._retried = self._closed = False

    def _read(self, timeout: float | None) -> Sequence[Chunk] | int:
        try:
            item = self._run.queue.get(timeout=timeout)
        except queue.Empty:
            return ()
        if isinstance(item, Chunk):
            self._passed_on = True
            return (item,)
        if isinstance(item, int):
            return self._ended(item)
        if self._killed or self._timed_out:
            return KILLED  # the kill may have broken the connection
        raise self._lost(item)

    def _ended(self, status: int) -> Sequence[Chunk] | int:
        if status != KILLED or self._killed or self._timed_out:
            return status
        if not self._is_alive():
            raise sdk.gone(self._name)
        if self._passed_on or self._retried:
            return status
        _log.warning("a command in bottle '%s' ended with 137 before any output; it is started once more", self._name)
        self._retried = True
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

        # On a thread: an interrupt must not cut the request in two, and a slow machine must not block for ever.
        killer = threading.Thread(target=act, name="bottle-kill", daemon=True)
        killer.start()
        killer.join(_PATIENCE)

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._run.abandon()
            self._on_close()


class _Run:
    """One start of a command: a thread that reads its stream into a queue.

    Attributes:
        queue: chunks, then the exit status or an error.
        pid: of the command in the machine; 0 until it is known.
        started: set once the pid is known, or the command has ended without one.
    """

    def __init__(self, stream: ExecStream, nonce: str) -> None:
        self.stream = stream
        self.queue: queue.Queue[Chunk | int | BaseException] = queue.Queue(_WAITING)
        self.pid = 0
        self.started = threading.Event()
        self._abandoned = self._over = False
        self._head = ""
        self._streams: dict[Stream, _Decoder] = {"stdout": _Decoder(nonce), "stderr": _Decoder(nonce)}
        threading.Thread(target=self._read, name="bottle-stream", daemon=True).start()

    def abandon(self) -> None:
        """Discard all further output."""
        self._abandoned = True

    def _read(self) -> None:
        ended: int | BaseException
        try:
            ended = self._read_events()
        except Exception as error:
            ended = error
        self.started.set()
        self._put(ended)

    def _read_events(self) -> int:
        for event in self.stream:
            kind = event["kind"]
            if kind == "exit":
                self._flush()
                return int(event["exit_code"])
            if kind == "error":
                raise refused(str(event["message"]))
            self._take(kind, event["data"])
        raise BackendUnavailable("the connection was lost while a command ran", hint="It may still run.")

    def _take(self, kind: Stream, text: str) -> None:
        if not self.pid and kind == "stdout":
            text = self._read_header(text)
        if data := self._streams[kind].decode(text):
            self._put(Chunk(kind, data))
        statuses = [stream.status for stream in self._streams.values()]
        if not self._over and None not in statuses:
            self._put(statuses[0] or 0)
            self._over = self._abandoned = True

    def _flush(self) -> None:
        """Pass on bytes that looked like the beginning of a status but were output."""
        for kind, stream in self._streams.items():
            if stream.held:
                self._put(Chunk(kind, stream.held))

    def _read_header(self, text: str) -> str:
        """Read the pid from the first output; return the text after it, empty until the pid is complete."""
        self._head += text
        found = shell.HEADER.search(self._head)
        if found is None:
            return ""
        self.pid = int(found[1])
        self.started.set()
        return self._head[found.end() :]

    def _put(self, item: Chunk | int | BaseException) -> None:
        while not self._abandoned:
            with contextlib.suppress(queue.Full):
                self.queue.put(item, timeout=0.1)
                return


class _Decoder:
    """Decodes one stream of a command: pieces of base64, each followed by a dot, wherever the SDK cuts the text.

    Attributes:
        status: the command's exit status, once it has arrived.
        held: bytes that may be the beginning of the status.
    """

    def __init__(self, nonce: str) -> None:
        self._mark = f"\x1e{nonce} ".encode()
        self._text, self.held = "", b""
        self.status: int | None = None

    def decode(self, text: str) -> bytes:
        """Return the bytes of all complete pieces, without the status.

        Raises:
            BackendUnavailable: it is no base64.
        """
        *whole, self._text = (self._text + _SPACE.sub("", text)).split(".")
        try:
            return self._strip(b"".join(base64.b64decode(frame, validate=True) for frame in whole))
        except binascii.Error:
            raise BackendUnavailable("the output of the machine is damaged: it is no base64") from None

    def _strip(self, data: bytes) -> bytes:
        """Take the status out, and keep back bytes that may be its beginning."""
        data = self.held + data
        before, mark, after = data.partition(self._mark)
        number, end, rest = after.partition(b"\n")
        if end and number.isdigit():
            self.status, self.held = int(number), b""
            return before + rest
        if mark:
            self.held = mark + after
            return before
        keep = next((n for n in range(min(len(data), len(self._mark)), 0, -1) if data.endswith(self._mark[:n])), 0)
        self.held = data[len(data) - keep :]
        return data[: len(data) - keep]


def refused(message: str) -> BottleError:
    """Return the error for a command that the machine would not start."""
    text = " ".join(message.split())[:400]
    if "user" in text.lower():
        return UsageError(f"the bottle cannot run that: {text}", hint="Use a user that its image knows, or a number.")
    return BackendUnavailable(f"the machine refuses to start a command: {text}")
