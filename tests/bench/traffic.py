"""Both ends of the traffic, as cheap as asyncio makes them: `python -m tests.bench.traffic server|load JSON`.

Each is a process of its own, so that what is measured in between has the interpreter for itself.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any, cast

from bb_jupyter.gateway.proxy.ca import LeafAuthority

_BODY = b"x" * 512
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
_PIECE = b"\0" * (1 << 18)


class _Server(asyncio.Protocol):
    """Answers every request head with 512 bytes, or with as many as the path `/api/SIZE` says."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._rest, self._left, self._full = b"", 0, False

    def data_received(self, data: bytes) -> None:
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        for head in heads:
            size = head.split(b" ", 2)[1].rpartition(b"/")[2]
            if size.isdigit():
                self._left = int(size)
                self._transport.write(_ANSWER % self._left)
                self.resume_writing()
            else:
                self._transport.write(_ANSWER % len(_BODY) + _BODY)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        while self._left and not self._full:
            piece = _PIECE[: self._left]
            self._left -= len(piece)
            self._transport.write(piece)


async def serve(folder: Path) -> None:
    """Serve any host by TLS on loopback; write the CA to *folder* and the port to standard output."""
    authority = LeafAuthority("bench")
    (folder / "server-ca.pem").write_text(authority.cert_pem)

    def by_name(sock: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        sock.context = authority.context(name or "localhost")

    context = authority.context("localhost")
    context.sni_callback = by_name
    server = await asyncio.get_running_loop().create_server(_Server, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def load(
    host: str, ca: str, path: str, connections: int, requests: int, port: int, proxy: int | None = None
) -> dict[str, Any]:
    """Ask for *path* on kept-alive connections, each one request after the other.

    Returns:
        `seconds` from the first request to the last answer, `bytes` of the bodies, `latencies` in ms.
    """
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["http/1.1"])
    pairs = [await _connect(host, context, port, proxy) for _ in range(connections)]
    rest = f"HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
    await _ask(*pairs[0], f"GET /api/echo {rest}".encode())  # a proxy loads what it needs for the first one
    head = f"GET {path} {rest}".encode()
    latencies: list[float] = []

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        size = 0
        for _ in range(requests):
            start = time.perf_counter()
            size += await _ask(reader, writer, head)
            latencies.append((time.perf_counter() - start) * 1000)
        return size

    start = time.perf_counter()
    sizes = await asyncio.gather(*(one(*pair) for pair in pairs))
    return {"seconds": time.perf_counter() - start, "bytes": sum(sizes), "latencies": latencies}


async def _connect(
    host: str, context: ssl.SSLContext, port: int, proxy: int | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy or port, limit=1 << 20)
    if proxy:
        writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    await writer.start_tls(context, server_hostname=host)
    return reader, writer


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> int:
    writer.write(head)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    left = size = int(answer.lower().partition(b"content-length:")[2].split(None, 1)[0])
    while left:
        piece = await reader.read(min(left, 1 << 20))
        assert piece
        left -= len(piece)
    return size


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    if sys.argv[1] == "server":
        asyncio.run(serve(Path(given["folder"])))
    else:
        print(json.dumps(asyncio.run(load(**given))))
