"""The desk: where a bottle meets its human.  Git gate and supervise, one process on this host for every backend.

``python -m bb_jupyter.gateway.desk`` is started for a bottle that has repositories or is supervised.  It holds the
host's git credentials and writes the approval queue, so it lives outside every container; it is reached from inside as
``http://git-gate:9418/`` and ``http://supervise:9100/``, by listening sockets of the bottle's own network
(``--listen-fd``) or through a `relay` there.

JSON lines, both ways (`lines`).  In: the configuration (`config.DeskConfig`), then ``{"op": "serve"}`` (the relay
is there), ``{"op": "applied", "id": N, …}`` (`Desk.applied`) and ``{"op": "stop"}``.  Out: ``desk-ready``,
then what the rooms `Desk.emit`.
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
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from bb_jupyter.approvals import Presence, Queue
from bb_jupyter.errors import BottleError
from bb_jupyter.gateway import PORTS
from bb_jupyter.gateway.audit import AuditLog
from bb_jupyter.gateway.desk.asgi import App, Room
from bb_jupyter.gateway.desk.config import DeskConfig
from bb_jupyter.gateway.events import EventLog, Events
from bb_jupyter.gateway.lines import control_server, obey
from bb_jupyter.gateway.listeners import Listener, adopt
from bb_jupyter.gateway.streams import standard_streams

_MOST_CONNECTIONS: Final = 128
"""Open connections of one room."""


class _Audited(Events):
    """Events that are written to the bottle's audit log as well."""

    def __init__(self, audit: AuditLog) -> None:
        super().__init__()
        self._audit = audit

    def emit(self, event: str, **fields: object) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end the desk
            self._audit.append([json.loads(self.line(event, **fields))])
        super().emit(event, **fields)


class Desk:
    """What the rooms of one desk share, handed to each as it is made.

    Args:
        config: what the host sent.
        events: where everything is reported.

    Attributes:
        slug: the bottle's slug.
        name: what the user calls the bottle.
        keep: the bottle outlives its owner.
        queue: the bottle's approval queue.
    """

    def __init__(self, config: DeskConfig, events: Events) -> None:
        self.slug, self.name, self.keep = config.slug, config.name, config.keep
        self.queue = Queue(config.slug, config.name)
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

        The room says first what: ``emit("apply", id=number)``, to put the approved proposal of that number in force,
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


def _git_gate() -> App:
    from bb_jupyter.gateway.git import app

    return app


def _supervise() -> App:
    from bb_jupyter.gateway.desk.supervise import app

    return app


def _rooms(config: DeskConfig, desk: Desk) -> dict[str, Room]:
    """Return the rooms that are configured; no other room's code is ever loaded."""
    rooms = {"git-gate": (_git_gate, config.git), "supervise": (_supervise, config.supervise)}
    return {name: Room(load, told, desk) for name, (load, told) in rooms.items() if told is not None}


class Process:
    """One desk at work.

    Args:
        config: what the host sent.
        events: where everything is reported.

    Attributes:
        failed: it ends because something broke, not because it was told to.

    Raises:
        BottleError: the bottle has a desk already.
    """

    def __init__(self, config: DeskConfig, events: Events) -> None:
        self.config, self._events = config, events
        try:
            self._presence = Presence(config.slug)
        except BlockingIOError:
            raise BottleError("the bottle has a desk already") from None
        self.desk = Desk(config, events)
        self.rooms = _rooms(config, self.desk)
        self.failed = False
        self.stopped, self.served, self._reached = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._sockets: dict[str, socket.socket] = {}
        self._listeners: list[Listener] = []

    def take(self, name: str, descriptor: int) -> None:
        """Take over a room's listening socket; who connects waits in its queue until the room has started.

        Raises:
            BottleError: the descriptor is no listening socket, or there is no such room.
        """
        if name not in self.rooms:
            raise BottleError(f"this desk has no room {name}")
        self._sockets[name] = adopt(descriptor)
        os.set_inheritable(descriptor, False)  # a program that a room starts must not keep the port open
        self._events.emit("listening", name=name)

    async def open(self) -> None:
        """Start the rooms, one after the other, and serve each on its socket.

        Loading takes a second or two, which a launch should not wait for: what it does wait for, the relay, goes first.
        """
        if self.config.relay:
            await self._reached.wait()
        for name, room in self.rooms.items():
            try:
                await room.start()
            except Exception as error:
                return self._fail(f"the room {name} does not start: {error or type(error).__name__}")
            if sock := self._sockets.pop(name, None):
                listener = Listener(name, room.protocol, room.connections, _MOST_CONNECTIONS, self._events)
                listener.use(sock)
                self._listeners.append(listener)

    def _fail(self, why: str) -> None:
        self.failed = True
        self._events.emit("error", error=why)
        self.stopped.set()

    async def relay(self) -> None:
        """Serve the rooms through the relay, whose end is the desk's."""
        from bb_jupyter.gateway.desk.relay import serve

        def listening() -> None:
            for name in self.rooms:
                self._events.emit("listening", name=name)
            self._reached.set()

        self._fail(await serve(self.config.relay, self.rooms, self.served, listening))

    def greeting(self) -> bytes:
        """Return the ``desk-ready`` line."""
        return self._events.line("desk-ready", slug=self.config.slug, pid=os.getpid(), rooms=sorted(self.rooms))

    def command(self, line: bytes) -> None:
        """Obey one control message."""
        try:
            message = json.loads(line)
            operation = message.pop("op") if isinstance(message, dict) else None
        except (ValueError, KeyError):
            operation = None
        if operation == "stop":
            self.stopped.set()
        elif operation == "serve":
            self.served.set()
        elif operation == "applied" and type(number := message.pop("id", None)) is int:
            self.desk.take_answer(number, message)
        else:
            self._events.emit("error", error="a control message that is not understood")

    async def close(self) -> None:
        """Stop listening, end the rooms, and take back what nobody can answer any more; held pushes stay.

        What failed may be started anew by its owner: all that waits for the human waits for that.
        """
        for listener in self._listeners:
            listener.close()
        await asyncio.gather(*(room.stop() for room in self.rooms.values()))
        if not self.failed:
            with contextlib.suppress(OSError):
                self.desk.queue.end()
        self._presence.close()


async def _owner(reader: asyncio.StreamReader, process: Process, events: Events) -> None:
    """Obey the owner; its death ends the desk, unless that is meant to be kept and its bottle runs."""
    await obey(reader, process.command, events)
    if process.config.keep and process.served.is_set():
        events.set_main(None)
    else:
        process.stopped.set()


async def run(options: argparse.Namespace) -> int:
    """Run one desk to its end.

    Args:
        options: as parsed by `main`.

    Returns:
        Exit status: 0 after a stop, 2 when the configuration, a room or a socket is wrong.
    """
    reader, writer = await standard_streams()
    try:
        config = DeskConfig.from_json(await reader.readline())
        events = _Audited(AuditLog(config.slug))
        events.set_main(writer)
        events.set_secrets(config.secrets)
        logging.basicConfig(handlers=[EventLog(events)], level=logging.WARNING)
        process = Process(config, events)
        for name, descriptor in options.listen_fd:
            process.take(name, descriptor)
    except (BottleError, OSError) as error:
        writer.transport.set_write_buffer_limits(0)
        writer.write(json.dumps({"event": "error", "error": str(error)}).encode() + b"\n")
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
    events.emit("desk-stopped", failed=process.failed)
    events.flush()
    writer.transport.set_write_buffer_limits(0)
    await events.ready()
    return 0


def _descriptor(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in PORTS:
        raise ValueError(f"no room: {name}")
    return name, int(number)


def main(arguments: list[str] | None = None) -> int:
    """Run the desk as the command line says; no secret is ever on it."""
    parser = argparse.ArgumentParser("python -m bb_jupyter.gateway.desk", allow_abbrev=False)
    parser.add_argument("--listen-fd", metavar="ROOM=FD", type=_descriptor, action="append", default=[])
    parser.add_argument("--control", metavar="PATH", type=Path)
    options = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the secrets
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the notebook's interrupt is not for the desk
    return asyncio.run(run(options))
