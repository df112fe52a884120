"""The host's client of a gateway: it sends the configuration, replaces the policy and receives events."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bb_jupyter.errors import BackendUnavailable, BottleGone, ManifestError
from bb_jupyter.gateway.audit.audit_log import AuditLog
from bb_jupyter.gateway.control.control_client import Channel, ControlClient, Event, PipeChannel
from bb_jupyter.gateway.control.gateway_config import GatewayConfig
from bb_jupyter.gateway.handoff.spawn_gateway import GatewayProcess
from bb_jupyter.policy.routes import RouteConfig, routes_to_json

__all__ = ["Event", "GatewayClient", "PipeChannel"]

#: Seconds that a gateway may take to start on a busy machine.
_START: Final = 15.0
#: Events that only this client needs; `ready` repeats what `ca` reports.
_SILENT: Final = ("ca", "synced")


class GatewayClient(ControlClient):
    """Steers one gateway and records what it reports.

    A reader thread takes events off the channel as they come, writes them to the audit log, then hands them to
    *on_event*, which must be quick and may run while the kernel's main thread blocks.

    Args:
        channel: to the gateway.
        audit: where events are kept; ``None`` keeps none.
        on_event: called with each event, on the reader thread.
        process: the gateway's process, if it is a child of this one.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        audit: AuditLog | None = None,
        on_event: Callable[[Event], None] | None = None,
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        super().__init__("gateway", channel, audit=audit, on_event=on_event, process=process)
        self._answers: dict[int, Event] = {}
        self._ca_pem, self._generation, self._error = "", 0, ""
        self._asked = self._synced = self._passed = 0
        self._policy_lock = threading.Lock()

    @classmethod
    def spawn(
        cls,
        config: GatewayConfig,
        listeners: Mapping[str, int],
        *,
        audit: AuditLog | None = None,
        on_event: Callable[[Event], None] | None = None,
        timeout: float = _START,
        process: GatewayProcess | None = None,
        ready: bool = True,
    ) -> GatewayClient:
        """Start a gateway as a process of this host and wait until it is ready.

        Args:
            config: its configuration.
            listeners: service name to descriptor of a listening socket; the caller keeps (and closes) its own.
            audit: see `GatewayClient`.
            on_event: see `GatewayClient`.
            timeout: seconds until it must be ready.
            process: one that has been started already; ``None`` starts one.
            ready: whether to wait until it is; if not, only until its CA is known and it has its sockets, in whose
                queues earlier connections wait.

        Raises:
            BackendUnavailable: it did not start.
            ManifestError: it refused the configuration.
        """
        process = process or GatewayProcess()
        client = cls(PipeChannel(process.popen), audit=audit, on_event=on_event, process=process.popen)
        try:
            process.give(listeners)
            client.begin(config)
            client.wait_ca(timeout)
            process.wait_given(timeout)
            if ready:
                client.wait_ready(timeout)
        except BaseException:
            client.stop()
            raise
        return client

    def start(self, config: GatewayConfig | None, *, timeout: float = _START) -> None:
        """Do `begin`, then `wait_ready`."""
        self.begin(config)
        self.wait_ready(timeout)

    def begin(self, config: GatewayConfig | None) -> None:
        """Send the configuration and listen; does not wait.

        Args:
            config: its configuration; ``None`` when it runs already and this is a control connection.
        """
        self._reader.start()
        if config is not None:
            self._generation = config.generation
            self._tell(**config.to_json())

    def wait_ready(self, timeout: float = _START) -> None:
        """Wait until the gateway is ready.

        Args:
            timeout: seconds.

        Raises:
            BackendUnavailable: it ended, or was not ready in time.
            ManifestError: it refused the configuration.
        """
        self._wait_start(lambda: self._ready is not None, timeout)

    def wait_ca(self, timeout: float = _START) -> None:
        """Wait until `ca_pem` is known, which is before the gateway is ready; see `wait_ready`."""
        self._wait_start(lambda: bool(self.ca_pem), timeout)

    def _wait_start(self, condition: Callable[[], bool], timeout: float) -> None:
        if not self._wait(lambda: condition() or self._error, timeout):
            state = "ended" if self._ended else f"was not ready within {timeout:g} s"
            raise BackendUnavailable(f"the bottle's gateway {state}", hint="%bottle doctor checks what it needs")
        if not condition():
            raise ManifestError(f"the gateway refused its configuration: {self._error}")

    @property
    def ca_pem(self) -> str:
        """The certificate that the bottle must trust, in PEM."""
        return self._ca_pem

    @property
    def generation(self) -> int:
        """The number of the policy in force."""
        return self._generation

    @property
    def pid(self) -> int:
        """The gateway's process, if it is a child of this one; else 0."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether the gateway is there; when not, the bottle has no network."""
        return bool(self._ca_pem) and not self._ended

    def replace_policy(self, routes: Sequence[RouteConfig], *, timeout: float = _START) -> int:
        """Replace the whole policy; connections that it does not allow are closed.

        Args:
            routes: everything that is allowed from now on.
            timeout: seconds to wait for the gateway's answer.

        Returns:
            The new policy's generation.

        Raises:
            ManifestError: the gateway refused it; the old policy is in force, unchanged.
            BottleGone: there is no gateway any more, or it does not answer.
        """
        with self._policy_lock:
            number = self.generation + 1
            try:
                self._send(op="policy", generation=number, routes=routes_to_json(routes))
            except (OSError, ValueError):
                raise self._gone() from None
            if not self._wait(lambda: number in self._answers, timeout):
                raise self._gone()
            answer = self._answers.pop(number)
        if not answer.get("ok"):
            raise ManifestError(f"the policy is unchanged: {answer.get('error', '')}")
        return number

    def sync(self, *, timeout: float = 1.0) -> int:
        """Wait until *on_event* has had everything that the gateway has decided so far.

        Args:
            timeout: seconds; a gateway that is gone or overloaded is not waited for longer, one that starts is.

        Returns:
            How many bytes have passed in all, both directions together, by its latest report.
        """
        with self._changed:
            self._asked += 1
            number = self._asked
        with contextlib.suppress(OSError, ValueError):
            self._send(op="sync", number=number)
            self._wait(lambda: self._synced >= number, timeout if self._ready else max(timeout, _START))
        return self._passed

    def limit_egress(self, most: int) -> None:
        """Let at most *most* bytes pass in all; then an event ``budget`` comes, and nothing is allowed any more."""
        self._tell(op="budget", bytes=most)

    def shut(self, reason: str) -> None:
        """Let nothing pass any more; clients get *reason* as the answer."""
        self._tell(op="shut", reason=reason)

    def record(self, event: str, **fields: object) -> None:
        """Write what the host itself did into the audit log, with the time and the policy's generation."""
        about = {"event": event, "time": round(time.time(), 3), "generation": self.generation}
        self._write_down([{**about, **fields}])

    def _gone(self) -> BottleGone:
        return BottleGone("the bottle's gateway is gone, and with it the bottle's network", hint="start a fresh bottle")

    def _of_death(self) -> Event:
        return {"generation": self.generation}

    def _take(self, events: list[Event], lines: list[bytes]) -> None:
        """Write a batch down, then act on it."""
        reported = [
            (event, line) for event, line in zip(events, lines, strict=True) if event.get("event") not in _SILENT
        ]
        self._write_down([event for event, _ in reported], [_to_keep(event, line) for event, line in reported])
        with self._changed:
            for event in events:
                self._note(event)
            self._changed.notify_all()
        for event, _ in reported:
            self._on_event(event)
        if synced := [event for event in events if event.get("event") == "synced"]:
            with self._changed:
                self._synced = max(self._synced, *(int(event.get("number") or 0) for event in synced))
                self._passed = max(self._passed, *(int(event.get("passed") or 0) for event in synced))
                self._changed.notify_all()

    def _note(self, event: Event) -> None:
        kind = event.get("event")
        if kind == "ready":
            self._ready = event
            self._ca_pem, self._generation = str(event.get("ca_pem")), int(event["generation"])
        elif kind == "ca":
            self._ca_pem = str(event.get("ca_pem"))
        elif kind == "error":
            self._error = str(event.get("error"))
        elif kind == "policy":
            self._answers[int(event.get("requested") or 0)] = event
            if event.get("ok"):
                self._generation = int(event["generation"])


def _to_keep(event: Event, line: bytes) -> bytes:
    """Return an event's line for the log, without the certificate that `ready` brings."""
    return json.dumps({k: v for k, v in event.items() if k != "ca_pem"}).encode() if "ca_pem" in event else line
