"""Check and serve listening sockets that come from inside a bottle; their sender is not trusted."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bb_jupyter.errors import BottleError
from bb_jupyter.gateway import PORTS
from bb_jupyter.gateway.control.gateway_events import Events

_BUSY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nX-Bottle-Denied: limit-connections\r\n"
    b"Content-Length: 30\r\nConnection: close\r\n\r\nbottle: too many connections\n\n"
)
_TRANSIENT: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
#: Seconds that the message of a handoff may take.
_HANDOFF: Final = 5.0
_GONE: Final = {errno.EINVAL, errno.EBADF, errno.ENOTSOCK, errno.EOPNOTSUPP}


def adopt(descriptor: int) -> socket.socket:
    """Take over a listening stream socket: TCP, or Unix if an egress interceptor connects to it.

    Raises:
        BottleError: the descriptor is something else; it has been closed.
    """
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        raise BottleError("what was passed is not a socket") from None
    known = sock.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX) and sock.type == socket.SOCK_STREAM
    if not known or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise BottleError("what was passed is not a listening stream socket")
    sock.setblocking(False)
    return sock


class Sockets:
    """Listening sockets that may arrive before a server is ready; clients wait in the sockets' queues.

    Args:
        events: where the arrival of each socket is reported.

    Attributes:
        wanted: set when a client connects.
    """

    def __init__(self, events: Events) -> None:
        self.wanted = asyncio.Event()
        self._events = events
        self._waiting: dict[str, socket.socket] = {}
        self._serve: Callable[[str, socket.socket], None] | None = None

    def take(self, name: str, descriptor: int) -> None:
        """Take over the socket of a service; it replaces an earlier one.

        Raises:
            BottleError: the descriptor is no listening TCP socket.
        """
        sock = adopt(descriptor)
        self._events.emit("listening", name=name)
        if self._serve:
            self._serve(name, sock)
            return
        if name in self._waiting:
            self._forget(name).close()
        self._waiting[name] = sock
        asyncio.get_running_loop().add_reader(sock, self._notice)

    def _notice(self) -> None:
        self.wanted.set()
        for sock in self._waiting.values():
            asyncio.get_running_loop().remove_reader(sock)

    def _forget(self, name: str) -> socket.socket:
        sock = self._waiting.pop(name)
        asyncio.get_running_loop().remove_reader(sock)
        return sock

    def serve(self, serve: Callable[[str, socket.socket], None]) -> None:
        """Call *serve* with the name and socket of each service, for the sockets here and for later ones."""
        self._serve = serve
        for name in [*self._waiting]:
            serve(name, self._forget(name))


class Listener:
    """Accepts connections of one service, on one socket at a time.

    The bottle also holds the socket and can shut it down.  asyncio's own server would then spin; this one gives up.

    Args:
        name: the service.
        factory: makes a protocol for a connection.
        open_count: returns how many connections are open.
        most: how many may be open.
        events: where a lost socket is reported.
    """

    def __init__(
        self,
        name: str,
        factory: Callable[[], asyncio.Protocol],
        open_count: Callable[[], int],
        most: int,
        events: Events,
    ) -> None:
        self._name, self._factory, self._open_count, self._most = name, factory, open_count, most
        self._events = events
        self._task: asyncio.Task[None] | None = None

    def use(self, sock: socket.socket) -> None:
        """Serve *sock* instead of the socket before it."""
        self.close()
        self._task = asyncio.create_task(self._accept(sock))

    def close(self) -> None:
        """Stop accepting."""
        if self._task is not None:
            self._task.cancel()

    async def _accept(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with sock:
            while True:
                try:
                    connection, _ = await loop.sock_accept(sock)
                    await self._serve(connection)
                except OSError as error:
                    if error.errno in _GONE:
                        self._events.emit("listener-lost", name=self._name)
                        return
                    if error.errno in _TRANSIENT:
                        await asyncio.sleep(0.1)

    async def _serve(self, connection: socket.socket) -> None:
        if self._open_count() < self._most:
            await asyncio.get_running_loop().connect_accepted_socket(self._factory, connection)
            return
        with connection:
            self._events.emit(self._name, verdict="denied", rule="limit-connections", reason=f"{self._most} are open")
            connection.setblocking(False)
            connection.send(_BUSY)


async def handoffs(path: Path, take: Callable[[str, int], None]) -> None:
    """Receive handoffs of listening sockets, one after another, for ever.

    The sender (`send_listener`) connects to a SEQPACKET socket at *path* and sends one message: a JSON list of service
    names, with one descriptor each (SCM_RIGHTS).  The answer is ``ok`` or an error message.  A later handoff replaces
    an earlier one.

    Args:
        path: where to listen; an old socket there is removed.
        take: called with each service's name and descriptor; raises BottleError.
    """
    loop = asyncio.get_running_loop()
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        before = os.umask(0o177)
        try:
            server.bind(str(path))
        finally:
            os.umask(before)
        server.listen(4)
        server.setblocking(False)
        while True:
            connection, _ = await loop.sock_accept(server)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HANDOFF):
                    await receive(connection, take)


async def receive(connection: socket.socket, take: Callable[[str, int], None]) -> None:
    """Receive the one message of a handoff without a time limit, answer it, and close; see `handoffs`."""
    with connection:
        connection.setblocking(False)
        await _readable(connection)
        reply = _take_all(*_receive(connection), take)
        with contextlib.suppress(OSError):
            connection.send(reply.encode())


async def _readable(sock: socket.socket) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    try:
        message, descriptors, _, _ = socket.recv_fds(connection, 4096, 2 * len(PORTS))
    except OSError:
        return b"", []
    return message, descriptors


def _take_all(message: bytes, descriptors: list[int], take: Callable[[str, int], None]) -> str:
    """Call *take* with each pair of name and descriptor; close the descriptors that are left after an error."""
    try:
        names = json.loads(message)
        if not isinstance(names, list) or len(names) != len(descriptors) or not {*names} <= {*PORTS}:
            raise BottleError("a handoff is a list of service names with a descriptor each")
        while names:
            take(names.pop(0), descriptors.pop(0))
    except (BottleError, ValueError, TypeError) as error:
        return str(error)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return "ok"
