"""Multiplex connections over one pair of pipes, so that a broker on this host serves ports of a bottle on any engine.

``python -m bb_jupyter.gateway.handoff.mux SERVICE …`` runs in a container that shares the bottle's network and has no
other.  It binds the services' ports on 127.0.0.1 and passes every connection over its standard streams to the broker,
which is at the other end of the engine's attach connection.  When those streams end, it ends too, and the ports refuse
connections.

A frame is a header (connection, kind, number; 4 + 1 + 4 bytes, big-endian) and, for some kinds, *number* bytes.  Each
direction of a connection has a window, as in HTTP/2 (RFC 9113, 5.2): at most `WINDOW` bytes are sent until the
receiver credits some.  So a connection without a reader neither fills memory nor blocks the others.

Standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from bb_jupyter.gateway import PORTS
from bb_jupyter.gateway.control.jsonl_channel import standard_streams

WINDOW: Final = 1 << 18
"""Most bytes in flight in one direction of one connection."""
MOST_CONNECTIONS: Final = 256
"""Most open connections of one relay; further ones are closed at once."""
_PIECE: Final = 1 << 15
#: Seconds that a client may keep a connection open after the server has closed it.
_LINGER: Final = 10.0
_HEADER: Final = struct.Struct(">IBI")
# Kinds of frames.  OPEN's number is the index of the service in PORTS; CREDIT's, bytes that were taken.
_OPEN, _DATA, _END, _RESET, _CREDIT = range(5)
# Frames of connection 0: the relay listens; or it cannot, with the reason.
_READY, _FAILED = 5, 6
_SERVICES: Final = tuple(PORTS)


class ProtocolError(Exception):
    """The other end breaks the protocol, or reports that it failed."""


def failure(why: str) -> bytes:
    """Return the frame that reports why the relay cannot listen."""
    return _frame(0, _FAILED, why.encode()[:1000])


def ready() -> bytes:
    """Return the frame that reports that the relay listens."""
    return _HEADER.pack(0, _READY, 0)


def _frame(connection: int, kind: int, data: bytes) -> bytes:
    return _HEADER.pack(connection, kind, len(data)) + data


class _Connection:
    """One connection: a local stream at this end, frames to the other."""

    def __init__(self, number: int, local: socket.socket) -> None:
        self.number = number
        self.local: socket.socket | None = local
        self.credit = WINDOW
        self.credited = asyncio.Event()
        self.unread = bytearray()
        self.in_flight = 0
        self.ended = False
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Mux:
    """One end of the pair of pipes.

    Args:
        reader: frames from the other end.
        writer: frames to it.
        accept: called with the service's name when the other end opens a connection; returns a connected socket.
        on_ready: called when the other end listens.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        accept: Callable[[str], Awaitable[socket.socket]] | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._accept, self._on_ready = accept, on_ready
        self._connections: dict[int, _Connection] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._connections)

    async def open(self, service: str, local: socket.socket) -> None:
        """Open a connection to a service for *local*, or close *local* if too many are open.

        Waits while the other end does not read.
        """
        if len(self) >= MOST_CONNECTIONS:
            local.close()
            return
        self._last = self._last % 0xFFFF_FFFF + 1
        while self._last in self._connections:
            self._last = self._last % 0xFFFF_FFFF + 1
        self._writer.write(_HEADER.pack(self._last, _OPEN, _SERVICES.index(service)))
        self._begin(self._last, local)
        await self._writer.drain()

    async def run(self) -> None:
        """Serve until the other end is gone, then end every connection.

        Raises:
            ProtocolError: the other end breaks the protocol, or reports that it failed.
        """
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    await self._take(*_HEADER.unpack(await self._reader.readexactly(_HEADER.size)))
        finally:
            tasks = [each.task for each in self._connections.values() if each.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, number: int, kind: int, value: int) -> None:
        data = b""
        if kind in (_DATA, _FAILED):
            if value > WINDOW:
                raise ProtocolError("a frame is too long")
            data = await self._reader.readexactly(value)
        if kind == _READY:
            self._on_ready()
        elif kind == _FAILED:
            raise ProtocolError(data.decode("utf-8", "replace"))
        elif kind == _OPEN:
            await self._accepted(number, value)
        elif connection := self._connections.get(number):  # otherwise it has just ended at this end
            self._feed(connection, kind, value, data)

    async def _accepted(self, number: int, service: int) -> None:
        if self._accept is None or service >= len(_SERVICES) or number in self._connections or number == 0:
            raise ProtocolError("an invalid connection")
        try:
            if len(self) >= MOST_CONNECTIONS:
                raise OSError("too many connections")
            local = await self._accept(_SERVICES[service])
        except (KeyError, OSError):
            self._writer.write(_HEADER.pack(number, _RESET, 0))
            await self._writer.drain()
        else:
            self._begin(number, local)

    def _feed(self, connection: _Connection, kind: int, value: int, data: bytes) -> None:
        if kind == _DATA:
            connection.in_flight += len(data)
            if connection.in_flight > WINDOW or connection.ended:
                raise ProtocolError("more bytes than the window allows")
            connection.unread += data
            connection.changed.set()
        elif kind == _END:
            connection.ended = True
            connection.changed.set()
        elif kind == _CREDIT:
            connection.credit = min(WINDOW, connection.credit + value)
            connection.credited.set()
        elif connection.task:
            connection.task.cancel()

    def _begin(self, number: int, local: socket.socket) -> None:
        connection = self._connections[number] = _Connection(number, local)
        connection.task = asyncio.create_task(self._serve(connection))
        connection.task.add_done_callback(lambda _: self._forget(connection))

    def _forget(self, connection: _Connection) -> None:
        del self._connections[connection.number]
        if connection.local is not None:  # its task was cancelled before it started
            connection.local.close()

    async def _serve(self, connection: _Connection) -> None:
        """Copy both ways; if one way fails or the other end resets the connection, reset it."""
        local, connection.local = connection.local, None
        reader, writer = await asyncio.open_connection(sock=local, limit=_PIECE)
        writer.transport.set_write_buffer_limits(0)  # `drain` then waits until the kernel has taken all
        try:
            async with asyncio.TaskGroup() as both:
                sending = both.create_task(self._send(connection, reader))
                await self._receive(connection, writer)
                # A server that has closed reads no more: its client gets 10 seconds.  A client that has ended its
                # request still waits for the answer, without a limit.
                async with asyncio.timeout(_LINGER if self._accept is None else None):
                    await sending
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            with contextlib.suppress(OSError):
                self._writer.write(_HEADER.pack(connection.number, _RESET, 0))
            writer.transport.abort()
        finally:
            writer.close()

    async def _send(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        while True:
            while not connection.credit:
                connection.credited.clear()
                await connection.credited.wait()
            data = await reader.read(min(connection.credit, _PIECE))
            if not data:
                break
            connection.credit -= len(data)
            self._writer.write(_frame(connection.number, _DATA, data))
            await self._writer.drain()
        self._writer.write(_HEADER.pack(connection.number, _END, 0))

    async def _receive(self, connection: _Connection, writer: asyncio.StreamWriter) -> None:
        while connection.unread or not connection.ended:
            if not connection.unread:
                connection.changed.clear()
                await connection.changed.wait()
                continue
            data, connection.unread = connection.unread, bytearray()
            writer.write(data)
            await writer.drain()
            connection.in_flight -= len(data)
            self._writer.write(_HEADER.pack(connection.number, _CREDIT, len(data)))
        if writer.can_write_eof():
            writer.write_eof()


async def _accept_all(listener: socket.socket, service: str, mux: Mux) -> None:
    loop = asyncio.get_running_loop()
    while True:
        try:
            local, _ = await loop.sock_accept(listener)
        except OSError:  # out of descriptors, or the client went away already
            await asyncio.sleep(0.1)
        else:
            await mux.open(service, local)


def _listening(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(128)
    sock.setblocking(False)
    return sock


async def relay(services: list[str]) -> int:
    """Relay the ports of *services* until standard input ends.

    Returns:
        Exit status: 1 when a port is taken.
    """
    reader, writer = await standard_streams()
    try:
        listeners = [(_listening(PORTS[service]), service) for service in services]
    except OSError:
        ports = " or ".join(str(PORTS[service]) for service in services)
        writer.write(failure(f"a program in the bottle holds port {ports}"))
        await writer.drain()
        return 1
    mux = Mux(reader, writer)
    writer.write(ready())
    accepting = [asyncio.create_task(_accept_all(*each, mux)) for each in listeners]
    await mux.run()
    for task in accepting:
        task.cancel()
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(relay(sys.argv[1:])))
