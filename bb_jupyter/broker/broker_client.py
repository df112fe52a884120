"""The owner's end of a broker: starts it, hears what its services report, and answers what only the owner can do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Self

from bb_jupyter.broker.broker_config import BrokerConfig
from bb_jupyter.errors import BackendUnavailable, BottleError
from bb_jupyter.gateway.audit.audit_log import AuditLog
from bb_jupyter.gateway.control.control_client import Channel, ControlClient, Event, PipeChannel, SocketChannel
from bb_jupyter.process import trusted_child

#: Variables that a broker gets besides those of every trusted child: by which it reaches upstreams as this user does
#: (ssh's agent, proxies, CAs).
_ENVIRONMENT: Final = (
    "USER", "LOGNAME", "LC_ALL", "TMPDIR", "BOT_BOTTLE_HOME", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "GIT_SSL_CAINFO", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
)  # fmt: skip
#: Seconds that a broker may take to start on a machine that has much else to do.
_START: Final = 60.0


#: Applications that the brokers of this process serve in place of the package's own, for tests: service to
#: ``MODULE:FUNCTION``, see `broker_process`.
replaced_services: dict[str, str] = {}


class BrokerClient(ControlClient):
    """Steers one broker.

    A reader thread takes events off the channel as they come and hands them to *on_event*, which must be quick and may
    run while the kernel's main thread blocks.  The broker itself writes the audit log.

    Args:
        channel: to the broker.
        on_event: called with each event, on the reader thread; the last one is ``broker-died`` unless it was stopped.
        audit: where the broker's death is written down.
        process: the broker's process, if it is a child of this one.
    """

    def __init__(
        self,
        channel: Channel,
        on_event: Callable[[Event], None],
        *,
        audit: AuditLog,
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        super().__init__("broker", channel, audit=audit, on_event=on_event, process=process)
        self._listening: set[str] = set()
        self._error: BottleError | None = None

    @classmethod
    def spawn(
        cls,
        config: BrokerConfig,
        on_event: Callable[[Event], None],
        *,
        listeners: Mapping[str, int] | None = None,
        control: Path | None = None,
    ) -> Self:
        """Start a broker as a process of this host; `wait_serving` waits for it.

        Args:
            config: what it shall do, **secrets included**: they travel by its standard input alone.
            on_event: see `BrokerClient`.
            listeners: service to descriptor of a listening socket; the caller keeps (and closes) its own.
            control: where it listens for later owners; ``None`` for one that is not kept.

        Raises:
            OSError: the audit log cannot be written.
        """
        descriptors = listeners or {}
        arguments = [f"--listen-fd={name}={descriptor}" for name, descriptor in descriptors.items()]
        arguments += [f"--service={name}={application}" for name, application in replaced_services.items()]
        arguments += [f"--control={control}"] if control else []
        audit = AuditLog(config.slug)
        process = trusted_child.spawn(
            "bb_jupyter.broker", *arguments, descriptors=[*descriptors.values()], environment=_ENVIRONMENT
        )
        client = cls(PipeChannel(process), on_event, audit=audit, process=process)
        try:
            client._reader.start()
            client._tell(**config.to_json())
        except BaseException:
            process.kill()
            raise
        return client

    @classmethod
    def connect(cls, path: Path, slug: str, on_event: Callable[[Event], None]) -> Self | None:
        """Take over a broker that was kept; ``None`` when none listens at *path*."""
        try:
            channel = SocketChannel(path)
        except OSError:
            return None
        client = cls(channel, on_event, audit=AuditLog(slug))
        client._reader.start()
        return client

    @property
    def pid(self) -> int:
        """Its process id; 0 when it has not told."""
        return self._process.pid if self._process else int((self._ready or {}).get("pid", 0))

    def wait_ready(self, timeout: float = _START) -> None:
        """Wait until it has taken its configuration.

        Raises:
            BackendUnavailable: it ended, refused its configuration, or was not ready in time.
        """
        self._wait_start(lambda: self._ready is not None, timeout)

    def wait_serving(self, *services: str, timeout: float = _START) -> None:
        """Wait until *services* are reached from the bottle; see `wait_ready`."""
        self._wait_start(lambda: self._ready is not None and {*services} <= self._listening, timeout)

    def _wait_start(self, condition: Callable[[], bool], timeout: float) -> None:
        if self._wait(lambda: condition() or self._error, timeout) and condition():
            return
        if self._error is not None:
            raise self._error
        state = "ended" if self._ended else f"did not start within {timeout:g} s"
        raise BackendUnavailable(f"the bottle's broker {state}", hint="`%bottle doctor` checks what it needs.")

    def fail(self, error: BottleError) -> None:
        """Let whoever waits for it know why it cannot serve."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def serve(self) -> None:
        """Tell it that its relay can be reached."""
        self._tell(op="serve")

    def applied(self, number: int, **answer: object) -> None:
        """Answer what the broker asked for by an ``apply`` event.

        Args:
            number: its ``id``.
            answer: ``generation``, or ``error``.
        """
        self._tell(op="applied", id=number, **answer)

    def _of_death(self) -> Event:
        return {"error": self._error.message} if self._error else {}

    def _take(self, events: list[Event], lines: list[bytes]) -> None:
        for event in events:
            with self._changed:
                self._note(event)
                self._changed.notify_all()
            self._on_event(event)

    def _note(self, event: Event) -> None:
        kind = event.get("event")
        if kind == "broker-ready":
            self._ready = event
        elif kind == "listening":
            self._listening.add(str(event.get("name")))
        elif kind == "error":
            told = BackendUnavailable(f"the bottle's broker: {event.get('error')}")
            self._error = self._error or told  # what went wrong first is the cause
