"""The gateway process: it reads configuration and control messages, serves the bottle's sockets, and reports events.

The protocol is JSON objects, one a line.  The first line on standard input is the configuration (`GatewayConfig`).
Control messages follow:

* ``{"op": "policy", "generation": N, "routes": [...]}`` replaces the policy;
* ``{"op": "sync", "number": N}`` is answered, with the bytes passed so far, after all earlier events;
* ``{"op": "budget", "bytes": N}`` limits the bytes that may pass in all;
* ``{"op": "shut", "reason": "..."}`` lets nothing pass any more;
* ``{"op": "stop"}`` ends the gateway.

Standard output carries events.  The first are ``ca``, before the gateway can serve, and ``ready``.  The end of standard
input means that the owner has died, so it stops the gateway; with ``keep`` the gateway lives on and takes the same
messages on its control socket.  Each connection there gets ``ready`` first and every later event.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bb_jupyter.errors import BottleError, ManifestError
from bb_jupyter.gateway.control.gateway_config import GatewayConfig
from bb_jupyter.gateway.control.gateway_events import EventLog, Events
from bb_jupyter.gateway.control.jsonl_channel import control_server, obey, standard_streams
from bb_jupyter.gateway.handoff.listeners import Listener, Sockets, handoffs, receive
from bb_jupyter.gateway.proxy.ca import LeafAuthority
from bb_jupyter.policy.routes import routes_from_json
from bb_jupyter.process.jsonl import decode

#: Most bytes of data in this process, the same as for a container of it.  What a bottle makes it keep (heads of
#: requests, messages) counts into none of the bottle's own limits.
_MEMORY = 512 << 20
#: Seconds after which the proxy is loaded if no connection or message came before.
_PATIENCE = 1.5


class GatewayServer:
    """The gateway of one bottle, serving.

    Args:
        config: what the host sent.
        events: where everything is reported.
        ca: certifies intercepted hosts.

    Raises:
        ManifestError: the configuration cannot be put in force.
    """

    def __init__(self, config: GatewayConfig, events: Events, ca: LeafAuthority) -> None:
        from bb_jupyter.gateway.proxy.egress_proxy import EgressProxy
        from bb_jupyter.gateway.proxy.proxy_state import ProxyState

        self.config, self._events = config, events
        self.state = ProxyState(config, events, ca)
        self.stopped = asyncio.Event()
        egress = EgressProxy(self.state).server
        most = config.limits.connections
        self._listeners = {
            "egress": Listener("egress", egress, lambda: len(egress.connections), most, events),
        }

    def serve(self, name: str, sock: socket.socket) -> None:
        """Serve a service on a listening socket."""
        listener = self._listeners.get(name)
        if listener is None:
            sock.close()  # the gateway has no such service: connections to its port are refused
        else:
            listener.use(sock)

    def greeting(self) -> bytes:
        """Return the ``ready`` line."""
        return self._events.line("ready", slug=self.config.slug, ca_pem=self.state.ca.cert_pem)

    def command(self, line: bytes) -> None:
        """Obey one control message; the outcome is an event."""
        message = decode(line) or {}
        operation = message.get("op")
        if operation == "stop":
            self.stopped.set()
        elif operation == "policy":
            self._policy(message)
        elif operation == "budget" and type(message.get("bytes")) is int:
            self.state.limit_egress(message["bytes"])
        elif operation == "shut":
            self.state.shut(str(message.get("reason") or "the bottle's budget is used up"))
        elif operation == "sync":
            self._events.emit("synced", number=message.get("number"), passed=self.state.flows.passed)
        else:
            self._events.emit("error", error="a control message that is not understood")

    def _policy(self, message: dict[str, Any]) -> None:
        requested = message.get("generation")
        try:
            if type(requested) is not int:
                raise ManifestError("must be a whole number", key="generation")
            ended = self.state.replace_policy(routes_from_json(message.get("routes")), requested)
        except ManifestError as error:
            self._events.emit("policy", requested=requested, ok=False, error=str(error))
        else:
            self._events.emit("policy", requested=requested, ok=True, closed=ended)

    async def close(self) -> None:
        """Stop listening and end every flow."""
        for listener in self._listeners.values():
            listener.close()
        self.state.flows.end_all("gateway-stopped")
        await asyncio.sleep(0)
        await self.state.upstreams.close()


class _Messages:
    """The owner's lines; one can wait for the next line without taking it."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._next: asyncio.Task[bytes] | None = None

    def begin(self) -> asyncio.Task[bytes]:
        """Start reading the next line, unless that is under way; return the task."""
        self._next = self._next or asyncio.create_task(self._reader.readline())
        return self._next

    async def readline(self) -> bytes:
        """Take the next line; ``b""`` at the end."""
        line, self._next = self.begin(), None
        return await line


async def _owner(messages: _Messages, gateway: GatewayServer, events: Events) -> None:
    """Obey the owner; its death ends a gateway that is not to be kept."""
    await obey(messages, gateway.command, events)
    if gateway.config.keep:
        events.set_main(None)
    else:
        gateway.stopped.set()


async def _configured(messages: _Messages, events: Events, wanted: asyncio.Event | None) -> GatewayServer:
    """Read the configuration and build the gateway.

    Args:
        messages: the owner's.
        events: where everything is reported.
        wanted: set when a client connects; until then there is no hurry to load the proxy.  `None` loads it at once.

    Raises:
        ManifestError: the configuration is wrong.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 10)  # the CA comes first: a launch waits for it
    loading = None if wanted else asyncio.create_task(asyncio.to_thread(_load))
    try:
        data = json.loads(await messages.readline())
    except ValueError:
        raise ManifestError("the first line is not one JSON object", key="gateway") from None
    config = GatewayConfig.from_json(data)
    ca = LeafAuthority(config.slug)
    events.emit("ca", ca_pem=ca.cert_pem)  # the bottle learns meanwhile which CA to trust
    events.flush()
    if wanted is not None:
        await _first_of(messages.begin(), asyncio.create_task(wanted.wait()))
    await (loading or asyncio.to_thread(_load))
    sys.setswitchinterval(usual)
    return GatewayServer(config, events, ca)


async def _first_of(message: asyncio.Task[bytes], connection: asyncio.Task[Any]) -> None:
    """Wait for a message or a connection, `_PATIENCE` at most, so that a bottle's first request need not wait."""
    await asyncio.wait({message, connection}, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    connection.cancel()


def _load() -> None:
    """Import the proxy, which takes most of the time that a gateway needs to start."""
    with _no_system_cas():
        import bb_jupyter.gateway.proxy.egress_proxy  # noqa: F401


@contextmanager
def _no_system_cas() -> Iterator[None]:
    """Keep aiohttp's import from reading the system's CAs, 50 ms, for contexts that are never used here."""
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, os.devnull))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _handoffs(options: argparse.Namespace, take: Callable[[str, int], None]) -> Iterator[Coroutine[Any, Any, None]]:
    """Yield what receives the listening sockets, so that clients can connect before the gateway is ready."""
    if options.handoff_fd is not None:
        yield receive(socket.socket(fileno=options.handoff_fd), take)
    if options.handoff_socket:
        yield handoffs(options.handoff_socket, take)


async def run(options: argparse.Namespace) -> int:
    """Run one gateway to its end.

    Args:
        options: as parsed by `main`.

    Returns:
        Exit status: 0 after a stop, 2 when the configuration or a socket is wrong.
    """
    reader, writer = await standard_streams()
    events = Events()
    events.set_main(writer)
    logging.basicConfig(handlers=[EventLog(events)], level=logging.WARNING)
    sockets, messages = Sockets(events), _Messages(reader)
    tasks = [asyncio.create_task(job) for job in _handoffs(options, sockets.take)]
    try:
        # Where containers hand the sockets off, they start on the same few cores, and a launch waits for them.
        gateway = await _configured(messages, events, sockets.wanted if options.handoff_socket else None)
    except BottleError as error:
        events.emit("error", error=str(error))
        await _flush_and_close(events, writer)
        return 2
    events.flush()
    gc.freeze()  # what is loaded stays, so no collection need look through it again
    gc.set_threshold(20_000, 20, 20)
    writer.write(gateway.greeting())
    sockets.serve(gateway.serve)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gateway.stopped.set)
    tasks += [asyncio.create_task(job) for job in _jobs(options, messages, gateway, events)]
    await _until_stopped(gateway, tasks, events)
    events.emit("stopped")
    await _flush_and_close(events, writer)
    return 0


def _jobs(
    options: argparse.Namespace, messages: _Messages, gateway: GatewayServer, events: Events
) -> Iterator[Coroutine[Any, Any, None]]:
    """Yield what runs as long as the gateway: its control and the watch over its flows."""
    yield _owner(messages, gateway, events)
    yield gateway.state.flows.watch()
    if options.control:
        yield control_server(options.control, gateway.greeting, gateway.command, events)


async def _until_stopped(gateway: GatewayServer, tasks: list[asyncio.Task[None]], events: Events) -> None:
    """Wait until the gateway is stopped, which a task that fails does too; then close everything."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            events.emit("error", error=f"the gateway ends: {type(error).__name__}")
            gateway.stopped.set()

    for task in tasks:
        task.add_done_callback(ended)
    await gateway.stopped.wait()
    for task in tasks:
        task.cancel()
    await gateway.close()


async def _flush_and_close(events: Events, writer: asyncio.StreamWriter) -> None:
    """Write every event that waits, and close standard output."""
    events.flush()
    await events.ready()
    writer.close()


def _quietly(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """Report an uncaught exception by its type alone: its message or traceback might quote a secret."""
    sys.stderr.write(f"the gateway ended: {kind.__name__}\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the gateway as the command line says; no secret is ever on it."""
    parser = argparse.ArgumentParser("python -m bb_jupyter.gateway", allow_abbrev=False)
    parser.add_argument(
        "--handoff-fd", metavar="FD", type=int, help="socket that brings the listening sockets, by SCM_RIGHTS"
    )
    parser.add_argument(
        "--handoff-socket", metavar="PATH", type=Path, help="Unix socket where handoffs connect, one after another"
    )
    parser.add_argument("--control", metavar="PATH", type=Path)
    options = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold the secrets
    for kind, most in ((resource.RLIMIT_NOFILE, 65536), (resource.RLIMIT_DATA, _MEMORY)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (min(hard, most) if hard > 0 else most, hard))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt of the notebook must not end the gateway
    sys.excepthook = _quietly
    return asyncio.run(run(options))
