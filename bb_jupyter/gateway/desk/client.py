"""The owner's end of a desk: starts it, hears what its rooms report, and answers what only the owner can do."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from bb_jupyter.errors import BackendUnavailable, BottleError
from bb_jupyter.gateway.audit import AuditLog
from bb_jupyter.gateway.client import Channel, Event, PipeChannel
from bb_jupyter.gateway.desk.config import DeskConfig
from bb_jupyter.gateway.lines import short

#: Variables of this process that a desk needs: to find programs and the user's folder, and to reach upstreams as this
#: user does (ssh's agent, proxies, CAs).
_PASSED_ON: Final = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "BOT_BOTTLE_HOME", "PYTHONPATH", "PYTHONHOME",
    "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "HTTPS_PROXY", "https_proxy", "ALL_PROXY",
    "all_proxy", "NO_PROXY", "no_proxy",
)  # fmt: skip
_CHUNK: Final = 1 << 16
#: Seconds that a desk may take to start on a machine that has much else to do, and to end.
_START: Final = 60.0
_END: Final = 8.0


class SocketChannel:
    """A control connection to a desk that is kept.

    Args:
        path: its control socket.

    Raises:
        OSError: nothing listens there.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            with short(path) as address:
                self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise

    def read(self) -> bytes:
        """See `Channel`."""
        return self._socket.recv(_CHUNK)

    def write(self, data: bytes) -> None:
        """See `Channel`."""
        self._socket.sendall(data)

    def close(self) -> None:
        """See `Channel`."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the reader thread
        self._socket.close()


class DeskClient:
    """Steers one desk.

    A reader thread takes events off the channel as they come and hands them to *on_event*, which must be quick and may
    run while the kernel's main thread blocks.  The desk itself writes the audit log.

    Args:
        channel: to the desk.
        on_event: called with each event, on the reader thread; the last one is ``desk-died`` unless it was stopped.
        audit: where the desk's death is written down.
        process: the desk's process, if it is a child of this one.
    """

    def __init__(
        self,
        channel: Channel,
        on_event: Callable[[Event], None],
        *,
        audit: AuditLog,
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self._channel, self._on_event, self._audit, self._process = channel, on_event, audit, process
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._listening: set[str] = set()
        self._ready: Event | None = None
        self._error: BottleError | None = None
        self._stopping = self._ended = False
        self._reader = threading.Thread(target=self._read, name="bottle-desk", daemon=True)

    @classmethod
    def spawn(
        cls,
        config: DeskConfig,
        on_event: Callable[[Event], None],
        *,
        listeners: Mapping[str, int] | None = None,
        control: Path | None = None,
    ) -> Self:
        """Start a desk as a process of this host; `wait_serving` waits for it.

        Args:
            config: what it shall do, **secrets included**: they travel by its standard input alone.
            on_event: see `DeskClient`.
            listeners: room to descriptor of a listening socket; the caller keeps (and closes) its own.
            control: where it listens for later owners; ``None`` for one that is not kept.

        Raises:
            OSError: the audit log cannot be written.
        """
        # -P and another directory: a module in the notebook's folder must never be imported by the desk.
        command = [sys.executable, "-P", "-m", "bb_jupyter.gateway.desk"]
        command += [f"--listen-fd={name}={descriptor}" for name, descriptor in (listeners or {}).items()]
        command += [f"--control={control}"] if control else []
        audit = AuditLog(config.slug)
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[*(listeners or {}).values()],
            cwd="/",
            env={name: value for name in _PASSED_ON if (value := os.environ.get(name)) is not None},
            start_new_session=True,
        )
        client = cls(PipeChannel(process), on_event, audit=audit, process=process)
        try:
            client._reader.start()
            client._send(config.to_json())
        except BaseException:
            process.kill()
            raise
        return client

    @classmethod
    def connect(cls, path: Path, slug: str, on_event: Callable[[Event], None]) -> Self | None:
        """Take over a desk that was kept; ``None`` when none listens at *path*."""
        try:
            channel = SocketChannel(path)
        except OSError:
            return None
        client = cls(channel, on_event, audit=AuditLog(slug))
        client._reader.start()
        return client

    @property
    def alive(self) -> bool:
        """Whether the desk is there."""
        return self._ready is not None and not self._ended

    @property
    def pid(self) -> int:
        """Its process id; 0 when it has not told."""
        return self._process.pid if self._process else int((self._ready or {}).get("pid", 0))

    def wait_ready(self, timeout: float = _START) -> None:
        """Wait until it has taken its configuration.

        Raises:
            BackendUnavailable: it ended, refused its configuration, or was not ready in time.
        """
        self._wait(lambda: self._ready is not None, timeout)

    def wait_serving(self, *rooms: str, timeout: float = _START) -> None:
        """Wait until *rooms* can be connected to in the bottle, and answer when they have started; see `wait_ready`."""
        self._wait(lambda: self._ready is not None and {*rooms} <= self._listening, timeout)

    def _wait(self, condition: Callable[[], bool], timeout: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._error or self._ended, timeout)
            if condition():
                return
        if self._error is not None:
            raise self._error
        state = "ended" if self._ended else f"did not start within {timeout:g} s"
        raise BackendUnavailable(f"the bottle's desk {state}", hint="`%bottle doctor` checks what it needs.")

    def fail(self, error: BottleError) -> None:
        """Let whoever waits for it know why it cannot serve."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def serve(self) -> None:
        """Tell it that its relay can be reached."""
        self._send({"op": "serve"})

    def applied(self, number: int, **answer: object) -> None:
        """Answer what the desk asked for by an ``apply`` event.

        Args:
            number: its ``id``.
            answer: ``generation``, or ``error``.
        """
        self._send({"op": "applied", "id": number, **answer})

    def _send(self, message: Mapping[str, Any]) -> None:
        with self._writing, contextlib.suppress(OSError, ValueError):  # if it is dead, the reader says so
            self._channel.write(json.dumps(message).encode() + b"\n")

    def begin_stop(self) -> None:
        """Tell it to end; does not wait.  Idempotent."""
        self._stopping = True
        self._send({"op": "stop"})

    def stop(self, *, timeout: float = _END) -> None:
        """End it and wait until it is gone; idempotent."""
        self.begin_stop()
        if threading.current_thread() is not self._reader:
            self._reader.join(timeout)
        self.detach()
        if self._process is not None:
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def detach(self) -> None:
        """Let go of it; one that is kept lives on."""
        self._stopping = True
        self._channel.close()

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(OSError, ValueError):
            while data := self._channel.read():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._take(line)
        if not self._stopping:
            died = {"event": "desk-died", "time": round(time.time(), 3)}
            if self._error is not None:
                died["error"] = self._error.message
            with contextlib.suppress(OSError):
                self._audit.append([died])
            self._on_event(died)
        self._audit.close()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return
        if not isinstance(event, dict):
            return
        with self._changed:
            if event.get("event") == "desk-ready":
                self._ready = event
            elif event.get("event") == "listening":
                self._listening.add(str(event.get("name")))
            elif event.get("event") == "error":
                self._error = BackendUnavailable(f"the bottle's desk: {event.get('error')}")
            self._changed.notify_all()
        self._on_event(event)
