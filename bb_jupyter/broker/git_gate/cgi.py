"""Runs ``git http-backend`` for one request (git-http-backend(1), RFC 3875): streamed, and ended with its client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_CHUNK: Final = 1 << 16
_LONGEST_HEADER: Final = 1 << 14
_TOTAL: Final = 3600.0
_GRACE: Final = 5.0
"""Seconds for the whole of one request, and to clean up after it was cut off."""
_MEMORY: Final = 4 << 30
"""Bytes of addresses of each program that serves a fetch: how much that takes is up to what upstream holds."""
#: Bytes of a body that are read although git does not want them: a client listens only when it has sent everything.
_UNWANTED: Final = 1 << 30
#: zlib's number for gzip (RFC 1952) with any window.
_GZIP: Final = 31
_BOUNDED: Final = 'ulimit -v {} 2>/dev/null; exec "$@"'


def variables(scope: Scope, alias: str, rest: str) -> dict[str, str]:
    """Return what CGI says of a request: nothing but these goes from the bottle into git's environment."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    found = {
        "REQUEST_METHOD": scope["method"],
        "PATH_INFO": f"/{alias}.git/{rest}",
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": headers.get("content-length", ""),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        "GIT_PROTOCOL": headers.get("git-protocol", "")[:200],
        "REMOTE_USER": "bottle",
        "REMOTE_ADDR": "bottle",
    }
    return {name: value for name, value in found.items() if value and "\0" not in value}


async def text(send: Send, status: int, message: str, kind: str = "text/plain; charset=utf-8") -> None:
    """Answer in words; git shows plain ones as ``remote:`` lines, whatever the status."""
    body = message.encode() + b"\n"
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Backend:
    """One run of the program.

    Args:
        env: its whole environment.
        descriptors: open files that it and its hooks inherit.
        memory: bytes of addresses that it, and each program that it starts, may use.
        total: seconds that it may take.
        unpack: whether to pass a body that is gzip on as what it holds: git unpacks such without any limit.
    """

    def __init__(
        self, env: Mapping[str, str], descriptors: Sequence[int] = (), *, memory: int = _MEMORY, total: float = _TOTAL,
        unpack: bool = False,
    ) -> None:  # fmt: skip
        self._env, self._descriptors, self._total = dict(env), descriptors, total
        self._unpacker = None
        if unpack and self._env.get("HTTP_CONTENT_ENCODING") in ("gzip", "x-gzip"):
            self._unpacker = zlib.decompressobj(_GZIP)
            for name in ("HTTP_CONTENT_ENCODING", "CONTENT_LENGTH"):
                self._env.pop(name, None)
        self._bounded = _BOUNDED.format(memory >> 10)

    async def serve(self, receive: Receive, send: Send) -> None:
        """Answer one request.  When the client goes, or this is cancelled, everything that it started ends."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", self._bounded, "sh", "git", "http-backend", env=self._env, start_new_session=True,
            stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, pass_fds=self._descriptors,
        )  # fmt: skip
        whole = asyncio.Event()
        feeding = asyncio.create_task(self._feed(process, receive, whole))
        try:
            async with asyncio.timeout(self._total):
                await self._answer(process, send, whole)
        except (TimeoutError, ConnectionError):
            return
        finally:
            feeding.cancel()
            await asyncio.shield(_end(process))

    async def _feed(self, process: asyncio.subprocess.Process, receive: Receive, whole: asyncio.Event) -> None:
        """Pass the body on, then wait for the client to go."""
        assert process.stdin is not None  # noqa: S101 - asked for
        wanted, unwanted, more = True, 0, True
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                whole.set()
                return _signal(process, signal.SIGTERM)
            body = message.get("body", b"")
            if wanted:
                wanted = await _write(process.stdin, _unpacked(body, self._unpacker))
            else:
                unwanted += len(body)
            more = more and message.get("more_body", False)
            if not more or unwanted > _UNWANTED:
                process.stdin.close()
                whole.set()

    async def _answer(self, process: asyncio.subprocess.Process, send: Send, whole: asyncio.Event) -> None:
        assert process.stdout is not None  # noqa: S101 - asked for
        try:
            status, headers = parse_head(await process.stdout.readuntil(b"\r\n\r\n"))
        except (asyncio.IncompleteReadError, ValueError):
            return await text(send, 502, "the git gate failed: git on this host ended without an answer")
        await send({"type": "http.response.start", "status": status, "headers": headers})
        while chunk := await process.stdout.read(_CHUNK):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await whole.wait()
        await send({"type": "http.response.body", "body": b""})


async def _write(stdin: asyncio.StreamWriter, pieces: Iterator[bytes]) -> bool:
    """Write, waiting until it is taken; return whether more is wanted."""
    try:
        for piece in pieces:
            stdin.write(piece)
            await stdin.drain()
    except (ConnectionError, zlib.error):
        return False
    return True


def _unpacked(data: bytes, unpacker: zlib._Decompress | None) -> Iterator[bytes]:
    """Yield what a part of a body holds, little by little: it may be a thousand times as much."""
    if unpacker is None:
        yield data
        return
    piece = b""
    while not unpacker.eof and (data or len(piece) == _CHUNK):
        yield (piece := unpacker.decompress(data, _CHUNK))
        data = unpacker.unconsumed_tail


def parse_head(head: bytes) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Read a CGI response's headers.

    Returns:
        The status, and the headers as ASGI has them.

    Raises:
        ValueError: they are none.
    """
    if len(head) > _LONGEST_HEADER:
        raise ValueError("headers too long")
    lines = [line.split(b":", 1) for line in head.strip().split(b"\r\n")]
    headers = [(name.strip().lower(), value.strip()) for name, value in lines]
    status = next((int(value[:3]) for name, value in headers if name == b"status"), 200)
    return status, [(name, value) for name, value in headers if name != b"status"]


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End what still runs: git removes its quarantine when it is asked to."""
    if process.returncode is None:
        _signal(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _GRACE)
        except TimeoutError:
            _signal(process, signal.SIGKILL)
    await process.wait()
