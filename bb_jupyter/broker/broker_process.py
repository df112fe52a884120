"""The broker: where a bottle meets its human.  Git gate and supervise, one process on this host for every backend.

``python -m bb_jupyter.broker`` is started for a bottle that has repositories or is supervised.  It holds the
host's git credentials and writes the approval queue, so it lives outside every container; it is reached from inside as
``http://git-gate:9418/`` and ``http://supervise:9100/``, by listening sockets of the bottle's own network
(``--listen-fd``) or through a `relay` there.

JSON lines, both ways (`lines`).  In: the configuration (`config.BrokerConfig`), then ``{"op": "serve"}`` (the relay
is there), ``{"op": "applied", "id": N, …}`` (`Broker.applied`) and ``{"op": "stop"}``.  Out: ``broker-ready``,
then what the services `Broker.emit`.

``--service git-gate=MODULE:FUNCTION`` (or ``supervise=…``) serves another application in place of the package's own.
MODULE is found on PYTHONPATH; FUNCTION takes the service's configuration and the `Broker`, and returns an ASGI 3
application.  Only the process that starts the broker can say so: `broker_client.replaced_services`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
import socket
from collections.abc import Coroutine, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from bb_jupyter.approvals import LivenessLock, Queue
from bb_jupyter.broker.asgi_service import App, AsgiService
from bb_jupyter.broker.broker_config import BrokerConfig
from bb_jupyter.broker.effect_context import BrokerContext
from bb_jupyter.broker.proposals import ProposalService
from bb_jupyter.errors import BottleError
from bb_jupyter.gateway import PORTS
from bb_jupyter.gateway.audit.audit_log import AuditLog
from bb_jupyter.gateway.control.gateway_events import EventLog, Events
from bb_jupyter.gateway.control.jsonl_channel import control_server, obey, standard_streams
from bb_jupyter.gateway.handoff.listeners import Listener, adopt
from bb_jupyter.process.jsonl import decode, encode

_MOST_CONNECTIONS: Final = 128
"""Open connections of one service."""


class _Audited(Events):
    """Events that are written to the bottle's audit log as well."""

    def __init__(self, audit: AuditLog) -> None:
        super().__init__()
        self._audit = audit

    def emit(self, event: str, **fields: object) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end the broker
            self._audit.append([json.loads(self.line(event, **fields))])
        super().emit(event, **fields)


class Broker:
    """What the services of one broker share, handed to each as it is made.

    Args:
        config: what the host sent.
        events: where everything is reported.

    Attributes:
        slug: the bottle's slug.
        name: what the user calls the bottle.
        keep: the bottle outlives its owner.
        queue: the bottle's approval queue.
        proposals: the jobs of what waits there.
    """

    def __init__(self, config: BrokerConfig, events: Events) -> None:
        self.slug, self.name, self.keep = config.slug, config.name, config.keep
        self.queue = Queue(config.slug, config.name)
        self.proposals = ProposalService(self, BrokerContext(self, config.git.repos if config.git else ()))
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}

    def emit(self, event: str, **fields: object) -> None:
        """Write an event to the audit log and tell the owner, if there is one.  From any thread.

        Args:
            event: its name, such as ``proposal``.
            fields: plain JSON values; texts are cut at 512 characters and secrets masked.
        """
        self._loop.call_soon_threadsafe(lambda: self._events.emit(event, **fields))

    async def applied(self, number: int) -> dict[str, Any]:
        """Wait for the owner's word on what only it can do.

        The service says first what: ``emit("apply", id=number)``, to put the approved proposal of that number in force,
        or ``emit("stage", id=-number, path=…)``, to fetch a file (`staging`).  Without an owner this waits until one
        attaches: use a timeout.

        Returns:
            ``{}``, for a policy ``{"generation": G}``, or ``{"error": TEXT}``.
        """
        try:
            return await asyncio.shield(self._answer(number))
        finally:
            self._answers.pop(number, None)

    def take_answer(self, number: int, answer: dict[str, Any]) -> None:
        """Give `applied` its answer."""
        future = self._answer(number)
        if not future.done():
            future.set_result(answer)

    def _answer(self, number: int) -> asyncio.Future[dict[str, Any]]:
        return self._answers.setdefault(number, self._loop.create_future())


#: What makes each service's application, as ``MODULE:FUNCTION``: called with its configuration and the `Broker`.
_APPLICATIONS: Final = {
    "git-gate": "bb_jupyter.broker.git_gate.git_server:app",
    "supervise": "bb_jupyter.broker.supervise.mcp_server:app",
}


def _services(config: BrokerConfig, broker: Broker, replaced: Mapping[str, str]) -> dict[str, AsgiService]:
    """Return the services that are configured; no other service's code is ever loaded."""
    applications = {**_APPLICATIONS, **replaced}
    configs = {"git-gate": config.git, "supervise": config.supervise}
    return {
        name: AsgiService(partial(_load, applications[name]), told, broker)
        for name, told in configs.items()
        if told is not None
    }


def _load(application: str) -> App:
    module, _, function = application.partition(":")
    made: App = getattr(import_module(module), function)
    return made


class Process:
    """One broker at work.

    Args:
        config: what the host sent.
        events: where everything is reported.
        replaced: applications in place of the package's own: service to ``MODULE:FUNCTION``.

    Attributes:
        failed: it ends because something broke, not because it was told to.

    Raises:
        BottleError: the bottle has a broker already.
    """

    def __init__(self, config: BrokerConfig, events: Events, replaced: Mapping[str, str]) -> None:
        self.config, self._events = config, events
        try:
            self._presence = LivenessLock(config.slug)
        except BlockingIOError:
            raise BottleError("the bottle has a broker already") from None
        self.broker = Broker(config, events)
        self.services = _services(config, self.broker, replaced)
        self.failed = False
        self.stopped, self.served, self._reached = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._sockets: dict[str, socket.socket] = {}
        self._listeners: list[Listener] = []

    def take(self, name: str, descriptor: int) -> None:
        """Take over a service's listening socket; who connects waits in its queue until the service has started.

        Raises:
            BottleError: the descriptor is no listening socket, or there is no such service.
        """
        if name not in self.services:
            raise BottleError(f"this broker has no service {name}")
        self._sockets[name] = adopt(descriptor)
        os.set_inheritable(descriptor, False)  # a program that a service starts must not keep the port open
        self._events.emit("listening", name=name)

    async def open(self) -> None:
        """Start the services, one after the other, and serve each on its socket; then see to proposals.

        Loading takes a second or two, which a launch should not wait for: what it does wait for, the relay, goes first.
        """
        if self.config.relay:
            await self._reached.wait()
        for name, service in self.services.items():
            try:
                await service.start()
            except Exception as error:
                return self._fail(f"the service {name} does not start: {error or type(error).__name__}")
            if sock := self._sockets.pop(name, None):
                listener = Listener(name, service.protocol, service.connections, _MOST_CONNECTIONS, self._events)
                listener.use(sock)
                self._listeners.append(listener)
        await self.broker.proposals.run()

    def _fail(self, why: str) -> None:
        self.failed = True
        self._events.emit("error", error=why)
        self.stopped.set()

    async def relay(self) -> None:
        """Serve the services through the relay, whose end is the broker's."""
        from bb_jupyter.broker.mux_listener import serve

        def listening() -> None:
            for name in self.services:
                self._events.emit("listening", name=name)
            self._reached.set()

        self._fail(await serve(self.config.relay, self.services, self.served, listening))

    def greeting(self) -> bytes:
        """Return the ``broker-ready`` line."""
        return self._events.line("broker-ready", slug=self.config.slug, pid=os.getpid(), services=sorted(self.services))

    def command(self, line: bytes) -> None:
        """Obey one control message."""
        message = decode(line) or {}
        operation = message.pop("op", None)
        if operation == "stop":
            self.stopped.set()
        elif operation == "serve":
            self.served.set()
        elif operation == "applied" and type(number := message.pop("id", None)) is int:
            self.broker.take_answer(number, message)
        else:
            self._events.emit("error", error="a control message that is not understood")

    async def close(self) -> None:
        """Stop listening, end the services, and take back what nobody can answer any more; held pushes stay.

        What failed may be started anew by its owner: all that waits for the human waits for that.
        """
        for listener in self._listeners:
            listener.close()
        await asyncio.gather(*(service.stop() for service in self.services.values()))
        if not self.failed:
            with contextlib.suppress(OSError):
                self.broker.queue.end()
        self._presence.close()


async def _owner(reader: asyncio.StreamReader, process: Process, events: Events) -> None:
    """Obey the owner; its death ends the broker, unless that is meant to be kept and its bottle runs."""
    await obey(reader, process.command, events)
    if process.config.keep and process.served.is_set():
        events.set_main(None)
    else:
        process.stopped.set()


async def run(options: argparse.Namespace) -> int:
    """Run one broker to its end.

    Args:
        options: as parsed by `main`.

    Returns:
        Exit status: 0 after a stop, 2 when the configuration, a service or a socket is wrong.
    """
    reader, writer = await standard_streams()
    try:
        config = BrokerConfig.from_json(await reader.readline())
        events = _Audited(AuditLog(config.slug))
        events.set_main(writer)
        events.set_secrets(config.secrets)
        logging.basicConfig(handlers=[EventLog(events)], level=logging.WARNING)
        process = Process(config, events, dict(options.service))
        for name, descriptor in options.listen_fd:
            process.take(name, descriptor)
    except (BottleError, OSError) as error:
        writer.transport.set_write_buffer_limits(0)
        writer.write(encode(event="error", error=str(error)))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        return 2
    writer.write(process.greeting())
    jobs: list[Coroutine[Any, Any, None]] = [_owner(reader, process, events), process.open()]
    if options.control:
        jobs.append(control_server(options.control, process.greeting, process.command, events))
    if config.relay:
        jobs.append(process.relay())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, process.stopped.set)
    tasks = [asyncio.create_task(job) for job in jobs]
    await process.stopped.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await process.close()
    events.emit("broker-stopped", failed=process.failed)
    events.flush()
    writer.transport.set_write_buffer_limits(0)
    await events.ready()
    return 0


def _descriptor(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in PORTS:
        raise ValueError(f"no service: {name}")
    return name, int(number)


def _application(text: str) -> tuple[str, str]:
    name, _, application = text.partition("=")
    if name not in _APPLICATIONS or ":" not in application:
        raise ValueError(f"no service: {name}")
    return name, application


def main(arguments: list[str] | None = None) -> int:
    """Run the broker as the command line says; no secret is ever on it."""
    parser = argparse.ArgumentParser("python -m bb_jupyter.broker", allow_abbrev=False)
    parser.add_argument("--listen-fd", metavar="SERVICE=FD", type=_descriptor, action="append", default=[])
    parser.add_argument("--service", metavar="SERVICE=MODULE:FUNCTION", type=_application, action="append", default=[])
    parser.add_argument("--control", metavar="PATH", type=Path)
    options = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the secrets
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the notebook's interrupt is not for the broker
    return asyncio.run(run(options))
