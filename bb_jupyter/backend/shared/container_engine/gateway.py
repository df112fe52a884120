"""The gateways of a bottle: containers, started anew where one died, and the connection to each.

The bottle has no network but its `lo`; a gateway is on an ordinary one.  A handoff container, which shares the bottle's
network for a moment, binds the gateway's ports there and passes the listening sockets on (SCM_RIGHTS, over a Unix
socket in a volume).  Nothing is mounted from this host and no port of it is used, so the engine may be anywhere.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import replace
from typing import TYPE_CHECKING

import requests
from docker.errors import DockerException
from docker.types import Mount

from bb_jupyter.backend.base import no_progress
from bb_jupyter.backend.shared.container_engine import labels, sidecar
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.backend.shared.container_engine.enumerate import containers
from bb_jupyter.backend.shared.container_engine.sidecar import MEETING, PYTHON
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


def control(engine: Engine, container: str, slug: str, on_event: Callable[[Event], None]) -> GatewayClient | None:
    """Take over a kept bottle's gateway, by an exec beside it; `None` when it ends just now.

    Args:
        engine: where the bottle runs.
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
        beside = engine.client.exec_create(container, command, stdin=True)["Id"]
        channel = GatewayChannel(RawStream.of_exec(engine.client, beside))
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
        engine: where the bottle runs.
        plan: the bottle's.
        image_id: the gateway's image.
    """

    def __init__(self, engine: Engine, plan: ContainerBottlePlan, image_id: str) -> None:
        self._engine, self._plan, self._image = engine, plan, image_id
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
        if self._engine.joins_unmade:
            self._handoff_steps.begin(self._create_handoff)

    def hand_off(self) -> None:
        """Begin to bring it the sockets of the bottle, which runs now; does not wait."""
        if not self._engine.joins_unmade:
            self._handoff_steps.begin(self._create_handoff)
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
        with self._engine.errors("start the bottle's gateway"):
            control = ["--control", CONTROL] if self._plan.spec.keep else []
            module = ["-m", "bb_jupyter.gateway", "--handoff-socket", f"{MEETING}/hand_off", *control]
            self._engine.create_volume(self.name, labels.of_plan(self._plan, labels.VOLUME))
            self._create(self.name, labels.GATEWAY, module, network="bridge", stdin=True)
            wanted = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
            stream = RawStream(self._engine.client.attach_socket(self.name, params=wanted))
            try:
                self._engine.client.start(self.name)
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
            self._engine.client.start(self._handoff)
            status = self._engine.client.wait(self._handoff)["StatusCode"]
            self._engine.remove(self._handoff)
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
            with self._engine.errors("bring the bottle's sockets to its gateway"):
                yield
        except BottleError as error:
            self._settle(error)

    def _settle(self, error: BottleError | None = None) -> None:
        with contextlib.suppress(InvalidStateError):
            self._served.set_exception(error) if error else self._served.set_result(None)

    def _remove(self) -> None:
        self._engine.remove(self.name)
        self._engine.remove(self._handoff)  # one that waits for a gateway ends
        self._handoff_steps.run(lambda: self._engine.remove(self._handoff))  # one that was just being made
        self._engine.remove_volume(self.name)
        if self._opened is None and self._stream.done() and not self._stream.exception():
            self._stream.result().close()
        self._handoff_steps.close()
        self._steps.close()

    def _create(self, name: str, role: str, module: list[str], *, network: str, stdin: bool = False) -> None:
        of_volume = labels.of_plan(self._plan, labels.VOLUME)
        volume = Mount(MEETING, self.name, type="volume", labels=of_volume, no_copy=role == labels.HANDOFF)
        sidecar.create(
            self._engine, self._image, name, module, network=network,
            labels=labels.of_plan(self._plan, role), memory=_MEMORY, pids=_PIDS, stdin=stdin, mounts=[volume],
        )  # fmt: skip


class Gateways:
    """What a `Network` starts gateways by, and a launch removes them by.

    Args:
        engine: where the bottle runs.
        plan: the bottle's.
    """

    def __init__(self, engine: Engine, plan: ContainerBottlePlan) -> None:
        self._engine, self._plan = engine, plan
        self._all: list[Gateway] = []
        self._prepared: Gateway | None = None

    def prepare(self, image_id: str) -> None:
        """Begin to start one, while the bottle itself starts; then `hand_off`, and `open` is going to use it."""
        gateway = Gateway(self._engine, self._plan, image_id)
        self._all.append(gateway)
        gateway.start()
        self._prepared = gateway

    def hand_off(self) -> None:
        """Begin to bring the prepared one its sockets, for the bottle runs now; nothing when none is prepared."""
        if self._prepared is not None:
            self._prepared.hand_off()

    def open(self, config: GatewayConfig, on_event: Callable[[Event], None]) -> GatewayClient:
        """Start one (`StartGateway`); the one before is removed.

        Raises:
            BackendUnavailable: it did not start.
            BuildFailed: its image cannot be built.
            ManifestError: it refused the configuration.
        """
        from bb_jupyter.gateway.egress_plan import host_trust_pem
        from bb_jupyter.gateway.proxy.host_addresses import of_this_host

        if self._prepared is None:
            self.prepare(sidecar.obtain_image(self._engine, no_progress))
            self.hand_off()
        gateway, self._prepared = self._all[-1], None
        for other in self._all[:-1]:
            other.begin_removal()
        try:
            return gateway.open(
                replace(config, trust_pem=host_trust_pem(), own=(*of_this_host(), *self._engine.addresses())),
                on_event,
            )
        except BaseException:
            gateway.begin_removal()
            raise

    def find(self, on_event: Callable[[Event], None]) -> GatewayClient | None:
        """Return the one that a dead process left to run; `None` when it died as well.

        Raises:
            BackendUnavailable: the engine does not answer.
        """
        running = [
            each for each in containers(self._engine, self._plan.slug) if each.role == labels.GATEWAY and each.running
        ]
        return control(self._engine, running[-1].id, self._plan.slug, on_event) if running else None

    def wait_served(self) -> None:
        """Wait until the bottle reaches its gateway.

        Raises:
            BackendUnavailable: the gateway got no sockets.
        """
        self._all[-1].wait_served()

    def begin_removal(self) -> None:
        """Remove them all; does not wait."""
        for gateway in self._all:
            gateway.begin_removal()

    def wait_removed(self) -> None:
        """Remove them all and wait until they are gone.

        Raises:
            BackendUnavailable: the engine does not answer.
        """
        self.begin_removal()
        for gateway in self._all:
            gateway.begin_removal().result()


#: Seconds between two tries to send to a gateway that does not read.
_AGAIN = 0.05


class GatewayChannel:
    """A `bb_jupyter.gateway.control.gateway_client.Channel`: one thread reads, others write and close.

    The lock is never held while waiting, and never missing while the stream is used: one TLS connection must not be
    read and written at once.

    Args:
        stream: to the gateway.
    """

    def __init__(self, stream: RawStream) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def read(self) -> bytes:
        """Return some bytes, or none at the end; what comes on standard error is a crash, and told by the end."""
        while not self._stream.ended:
            self._stream.wait(None)
            with self._lock:
                chunks = self._stream.read()
            if data := b"".join(chunk.data for chunk in chunks if chunk.stream == "stdout"):
                return data
        self._stream.close()
        return b""

    def write(self, data: bytes) -> None:
        """Send all bytes.

        Raises:
            OSError: the other end is gone.
        """
        while data:
            with self._lock:
                data = data[self._stream.send(data) :]
            if data:
                self._stream.wait_to_send(_AGAIN)

    def close(self) -> None:
        """Hang up, which a gateway takes as its owner's end; idempotent."""
        with self._lock:
            self._stream.hang_up()
