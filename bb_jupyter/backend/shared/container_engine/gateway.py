"""A gateway in containers: its own, a handoff's that brings it the bottle's sockets, and the volume where they meet.

The bottle has no network but its `lo`; the gateway is on an ordinary one.  The handoff, which shares the bottle's
network for a moment, binds the gateway's ports there and passes the listening sockets on (SCM_RIGHTS, over a Unix
socket in the volume).  Nothing is mounted from this host and no port of it is used, so the engine may be anywhere.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as NotInTime
from typing import TYPE_CHECKING

import docker
import requests
from docker.errors import DockerException
from docker.types import Mount

from bb_jupyter.backend.shared.container_engine import engine, labels, sidecar_container
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.container_engine.gateway_channel import GatewayChannel
from bb_jupyter.backend.shared.container_engine.gateway_image import MEETING, PYTHON
from bb_jupyter.backend.shared.container_engine.removal import remove, remove_volume
from bb_jupyter.backend.shared.container_engine.stream import RawStream
from bb_jupyter.backend.shared.serial_executor import SerialExecutor
from bb_jupyter.errors import BackendUnavailable, BottleError
from bb_jupyter.gateway import PORTS

if TYPE_CHECKING:
    from bb_jupyter.gateway.control.gateway_client import Event, GatewayClient
    from bb_jupyter.gateway.control.gateway_config import GatewayConfig

#: Where a gateway whose owner died is controlled.
CONTROL = f"{MEETING}/control"
#: Bytes and processes (threads count) of one container: what 256 connections need, and a bound for a flaw.
_MEMORY, _PIDS = 512 << 20, 128
#: Seconds that a gateway, and then its sockets, may take on an engine that has much else to do.
_START = 120.0
_NO_SOCKETS = "the bottle's gateway got no sockets from the bottle"


def control(
    client: docker.APIClient, container: str, slug: str, on_event: Callable[[Event], None]
) -> GatewayClient | None:
    """Take over a kept bottle's gateway, by an exec beside it; `None` when it ends just now.

    Args:
        client: the engine.
        container: the gateway's.
        slug: the bottle's.
        on_event: called with each event.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    from bb_jupyter.gateway.audit.audit_log import AuditLog
    from bb_jupyter.gateway.control.gateway_client import GatewayClient

    command = [PYTHON, "-E", "-S", "-m", "bb_jupyter.gateway.control.socket_bridge", CONTROL]
    try:
        beside = client.exec_create(container, command, stdin=True)["Id"]
        channel = GatewayChannel(RawStream.of_exec(client, beside))
    except (DockerException, requests.RequestException) as error:
        if engine.is_gone(error):
            return None
        raise engine.explain(error, "reach the bottle's gateway") from None
    found = GatewayClient(channel, audit=AuditLog(slug), on_event=on_event)
    try:
        found.start(None, timeout=_START)
    except BackendUnavailable:
        found.detach()
        return None
    return found


class Gateway:
    """The containers of one gateway.  Each request is run to its end, in one of two threads.

    Args:
        client: the engine.
        plan: the bottle's.
        image_id: the gateway's image.
    """

    def __init__(self, client: docker.APIClient, plan: ContainerBottlePlan, image_id: str) -> None:
        self._client, self._plan, self._image = client, plan, image_id
        self.name = f"{plan.container}-gateway-{secrets.token_hex(3)}"
        self._handoff = f"{self.name}-handoff"
        self._steps, self._handoff_steps = SerialExecutor(), SerialExecutor()
        self._stream: Future[RawStream] = Future()
        self._served: Future[None] = Future()
        self._opened: GatewayClient | None = None
        self._removal: Future[None] | None = None

    def start(self) -> None:
        """Begin to start it; does not wait.  It reads its configuration when it is `open`ed."""
        self._stream = self._steps.begin(self._attached)
        self._handoff_steps.begin(self._create_handoff)

    def hand_off(self) -> None:
        """Begin to bring it the sockets of the bottle, which runs now; does not wait."""
        self._handoff_steps.begin(self._hand_off)

    def open(self, config: GatewayConfig, on_event: Callable[[Event], None]) -> GatewayClient:
        """Configure it and wait until its CA is known.

        Args:
            config: what it shall do, secrets included: they travel over the attached connection alone.
            on_event: called with each event.

        Raises:
            BackendUnavailable: it did not start.
            ManifestError: it refused the configuration.
        """
        from bb_jupyter.gateway.audit.audit_log import AuditLog
        from bb_jupyter.gateway.control.gateway_client import GatewayClient

        def hear(event: Event) -> None:
            if event.get("event") == "listening" and event.get("name") == "egress":
                self._settle()
            on_event(event)

        channel = GatewayChannel(self._stream.result())
        client = GatewayClient(channel, audit=AuditLog(self._plan.slug), on_event=hear)
        try:
            client.begin(config)
            client.wait_ca(_START)
        except BaseException:
            client.stop()
            raise
        self._opened = client
        return client

    def wait_served(self) -> None:
        """Wait until it has the bottle's sockets, in whose queues whoever connects waits until it is ready.

        Raises:
            BackendUnavailable: they did not come.
        """
        try:
            self._served.result(_START)
        except NotInTime:
            raise BackendUnavailable(f"{_NO_SOCKETS} within {_START:.0f} s") from None

    def begin_removal(self) -> Future[None]:
        """Remove everything after what is being done; does not wait.  Idempotent."""
        if self._removal is None:
            self._removal = self._steps.begin(self._remove)
        return self._removal

    def _attached(self) -> RawStream:
        with engine.errors("start the bottle's gateway"):
            control = ["--control", CONTROL] if self._plan.spec.keep else []
            module = ["-m", "bb_jupyter.gateway", "--handoff-socket", f"{MEETING}/hand_off", *control]
            self._create(self.name, labels.GATEWAY, module, network="bridge", stdin=True)
            wanted = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            stream = RawStream(self._client.attach_socket(self.name, params=wanted))
            try:
                self._client.start(self.name)
            except BaseException:
                stream.close()
                raise
            return stream

    def _create_handoff(self) -> None:
        # `-S`: it needs the standard library alone.
        module = ["-S", "-m", "bb_jupyter.gateway.handoff.send_listener", f"{MEETING}/hand_off"]
        with self._telling():
            self._create(self._handoff, labels.HANDOFF, module, network=f"container:{self._plan.container}")

    def _hand_off(self) -> None:
        with self._telling():
            self._client.start(self._handoff)
            status = self._client.wait(self._handoff)["StatusCode"]
            remove(self._client, self._handoff)
            if status:
                raise BackendUnavailable(
                    f"the gateway of '{self._plan.spec.name}' cannot start: a program in the bottle holds port "
                    + str(PORTS["egress"]),
                    hint="Stop that program, or start a fresh bottle.",
                )

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Let whoever waits for the sockets know why they do not come."""
        try:
            with engine.errors("bring the bottle's sockets to its gateway"):
                yield
        except BottleError as error:
            self._settle(error)

    def _settle(self, error: BottleError | None = None) -> None:
        with contextlib.suppress(InvalidStateError):
            self._served.set_exception(error) if error else self._served.set_result(None)

    def _remove(self) -> None:
        remove(self._client, self.name)
        remove(self._client, self._handoff)  # one that waits for a gateway ends
        self._handoff_steps.run(lambda: remove(self._client, self._handoff))  # one that was just being made
        remove_volume(self._client, self.name)
        if self._opened is None and self._stream.done() and not self._stream.exception():
            self._stream.result().close()
        self._handoff_steps.close()
        self._steps.close()

    def _create(self, name: str, role: str, module: list[str], *, network: str, stdin: bool = False) -> None:
        told, of_volume = labels.of_plan(self._plan, role), labels.of_plan(self._plan, labels.VOLUME)
        volume = Mount(MEETING, self.name, type="volume", labels=of_volume, no_copy=role == labels.HANDOFF)
        sidecar_container.create(
            self._client, self._image, name, module, network=network,
            labels=told, memory=_MEMORY, pids=_PIDS, stdin=stdin, mounts=[volume],
        )  # fmt: skip
