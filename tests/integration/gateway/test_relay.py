"""The relay's frames: what goes in comes out, in order, within bounds, whatever the other end does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from bb_jupyter.gateway.handoff import mux
from bb_jupyter.gateway.handoff.mux import MOST_CONNECTIONS, WINDOW, Mux, ProtocolError

_FRAME = struct.Struct(">IBI")
_OPEN, _DATA, _END, _RESET, _CREDIT = range(5)


class Pair:
    """Two ends of a mux, and what the far end accepted."""

    def __init__(self) -> None:
        self.accepted: asyncio.Queue[tuple[str, socket.socket]] = asyncio.Queue()
        self.ready = asyncio.Event()

    async def accept(self, service: str) -> socket.socket:
        ours, theirs = _pair()
        self.accepted.put_nowait((service, theirs))
        return ours

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, socket.socket]:
        """Open a connection; return the client's streams and the server's socket."""
        client, inside = _pair()
        await self.near.open("supervise", inside)
        service, server = await self.accepted.get()
        assert service == "supervise"
        return *await asyncio.open_connection(sock=client), server


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    made = Pair()
    ours, theirs = _pair()
    near, far = await asyncio.open_connection(sock=ours), await asyncio.open_connection(sock=theirs)
    made.near, made.far = Mux(*near), Mux(*far, made.accept, made.ready.set)
    tasks = [asyncio.create_task(mux.run()) for mux in (made.near, made.far)]
    yield made
    for writer in (near[1], far[1]):
        writer.close()
    await asyncio.wait(tasks, timeout=30)


def _pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setblocking(False)
    return ours, theirs


async def _all(sock: socket.socket) -> bytes:
    data, loop = b"", asyncio.get_running_loop()
    while piece := await loop.sock_recv(sock, 1 << 16):
        data += piece
    return data


async def test_what_goes_in_comes_out_both_ways(pair: Pair) -> None:
    reader, writer, server = await pair.connect()
    loop = asyncio.get_running_loop()
    sent = bytes(range(256)) * 8192
    writer.write(sent)
    writer.write_eof()
    assert await _all(server) == sent
    await loop.sock_sendall(server, b"the answer")  # after the client has ended its request
    server.close()
    assert await reader.read() == b"the answer"
    await _until(lambda: not len(pair.near) and not len(pair.far))


async def test_a_connection_that_nobody_reads_fills_no_memory_and_holds_up_no_other(pair: Pair) -> None:
    _, writer, server = await pair.connect()
    written = 0
    with contextlib.suppress(TimeoutError):
        while written < 64 << 20:
            writer.write(b"\0" * (1 << 16))
            await asyncio.wait_for(writer.drain(), 1)
            written += 1 << 16
    assert written < 4 << 20
    other_reader, other, other_server = await pair.connect()
    other.write(b"hello")
    assert await asyncio.get_running_loop().sock_recv(other_server, 10) == b"hello"
    other_server.close()
    assert await other_reader.read() == b""
    server.close()


async def test_a_client_that_breaks_off_is_told_to_the_server(pair: Pair) -> None:
    _, writer, server = await pair.connect()
    writer.transport.abort()
    assert await _all(server) == b""
    server.close()
    await _until(lambda: not len(pair.near) and not len(pair.far))


async def test_a_server_that_closes_ends_the_connection_whatever_the_client_does(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mux, "_LINGER", 0.1)
    reader, writer, server = await pair.connect()
    server.close()
    assert await reader.read() == b""
    await _until(lambda: not len(pair.near) and not len(pair.far))
    writer.close()


async def test_too_many_connections_are_closed(pair: Pair) -> None:
    held = [await pair.connect() for _ in range(MOST_CONNECTIONS)]
    client, inside = _pair()
    await pair.near.open("supervise", inside)
    assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
    for _, writer, server in held:
        writer.close()
        server.close()
    await _until(lambda: not len(pair.near) and not len(pair.far))
    reader, writer, server = await pair.connect()
    server.close()
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    "frames",
    [
        [(1, _OPEN, 99, b"")],
        [(0, _OPEN, 1, b"")],
        [(1, _OPEN, 1, b""), (1, _OPEN, 1, b"")],
        [(1, _DATA, WINDOW + 1, b"")],
        [(1, _OPEN, 1, b""), *[(1, _DATA, WINDOW, b"\0" * WINDOW)] * 40],
        [(1, _OPEN, 1, b""), (1, _END, 0, b""), (1, _DATA, 1, b"x")],
    ],
)
async def test_who_breaks_the_protocol_is_let_go(frames: list[tuple[int, int, int, bytes]]) -> None:
    made = Pair()
    ours, theirs = _pair()
    reader, writer = await asyncio.open_connection(sock=ours)
    end = Mux(reader, writer, made.accept)
    running = asyncio.create_task(end.run())
    _, other = await asyncio.open_connection(sock=theirs)
    for number, kind, value, data in frames:
        other.write(_FRAME.pack(number, kind, value) + data)
    with pytest.raises(ProtocolError):
        await asyncio.wait_for(running, 30)
    assert not len(end)
    writer.close()
    other.close()


async def test_frames_for_what_is_gone_are_no_offence(pair: Pair) -> None:
    ours, theirs = _pair()
    end = Mux(*await asyncio.open_connection(sock=ours), pair.accept, pair.ready.set)
    running = asyncio.create_task(end.run())
    _, other = await asyncio.open_connection(sock=theirs)
    for kind, data in ((_DATA, b"late"), (_END, b""), (_RESET, b""), (_CREDIT, b"")):
        other.write(_FRAME.pack(7, kind, len(data)) + data)
    other.write(_FRAME.pack(8, _OPEN, 2) + _FRAME.pack(8, _RESET, 0))  # in one piece: reset before it began
    other.write(mux.ready())
    await asyncio.wait_for(pair.ready.wait(), 30)
    _, server = await pair.accepted.get()
    assert await _all(server) == b""
    await _until(lambda: not len(end))
    other.close()
    await asyncio.wait_for(running, 30)


async def test_a_relay_that_fails_says_why(pair: Pair) -> None:
    ours, theirs = _pair()
    end = Mux(*await asyncio.open_connection(sock=ours))
    theirs.send(mux.failure("port 9100 is taken"))
    with pytest.raises(ProtocolError, match="port 9100 is taken"):
        await asyncio.wait_for(end.run(), 30)
    theirs.close()


async def _until(condition: object) -> None:
    async with asyncio.timeout(30):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)
