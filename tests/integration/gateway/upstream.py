"""The server that a test owns: what arrives here was let through."""

from __future__ import annotations

import asyncio
import base64
import gzip
import html
import json
import ssl
import threading
import urllib.parse
from pathlib import Path

from aiohttp import web
from multidict import CIMultiDict

from bb_jupyter.gateway.proxy.ca import LeafAuthority


class Upstream:
    """An HTTPS and an HTTP server on loopback, in a thread, that record every request.

    Args:
        hosts: the names that its one certificate-maker answers for, chosen by SNI.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = LeafAuthority("upstream")
        self.ca_pem = self.authority.cert_pem
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.connections = 0
        self.go_on = threading.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    def _run(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        context = self.authority.context("default.test")

        def by_name(sock: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            self.connections += 1
            if name:
                sock.context = self.authority.context(name)

        context.sni_callback = by_name
        server = web.Server(self._handle, access_log=None)
        secure = await self.loop.create_server(server, "127.0.0.1", 0, ssl=context)
        plain = await self.loop.create_server(server, "127.0.0.1", 0)
        wrong = await self.loop.create_server(server, "127.0.0.1", 0, ssl=LeafAuthority("other").context("wrong.test"))
        self.tls_port, self.plain_port, self.wrong_port = (
            s.sockets[0].getsockname()[1] for s in (secure, plain, wrong)
        )
        self._started.set()
        await self._stop.wait()

    def close(self) -> None:
        self.go_on.set()
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append((request.method, request.raw_path, dict(request.headers)))
        name = request.path.strip("/").split("/")[0]
        handler = getattr(self, f"_on_{name}", None) or self._on_echo
        return await handler(request)

    async def _on_echo(self, request: web.BaseRequest) -> web.StreamResponse:
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
        data = {"method": request.method, "target": request.raw_path, "body": size, "host": request.headers["Host"]}
        return web.Response(text=json.dumps({**data, "headers": dict(request.headers)}), headers={"X-Up": "1"})

    async def _on_secretless(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="fine")

    async def _on_reflect(self, request: web.BaseRequest) -> web.StreamResponse:
        """Give the credential back in every common form, in crumbs."""
        value = request.headers.get("Authorization", "").removeprefix("Bearer ")
        raw = value.encode()
        forms = [raw, base64.b64encode(raw), base64.b64encode(b"u:" + raw), base64.urlsafe_b64encode(b"xy" + raw)]
        forms += [value.encode("utf-16-le"), value.encode("utf-16-be")]
        forms += [urllib.parse.quote(value, safe="").encode(), raw.hex().encode(), json.dumps(value).encode()]
        forms += [
            value.encode("utf-32-le"),
            raw.lower(),
            raw.upper(),
            html.escape(value).replace("/", "&#x2F;").encode(),
        ]
        body = b"\n".join(b"<" + form + b">" for form in forms)
        reply = web.StreamResponse(headers={"X-Echo": value, "Content-Length": str(len(body))}, reason="OK")
        await reply.prepare(request)
        for at in range(0, len(body), 7):
            await reply.write(body[at : at + 7])
            await asyncio.sleep(0)
        await reply.write_eof()
        return reply

    async def _on_gzip(self, request: web.BaseRequest) -> web.StreamResponse:
        body = gzip.compress(request.headers.get("Authorization", "none").encode() * 50)
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    async def _on_twice(self, request: web.BaseRequest) -> web.StreamResponse:
        """Say first that the body is not compressed, then that it is."""
        body = gzip.compress(request.headers.get("Authorization", "none").encode() * 50)
        return web.Response(
            body=body, headers=CIMultiDict([("Content-Encoding", "identity"), ("Content-Encoding", "gzip")])
        )

    async def _on_packed(self, request: web.BaseRequest) -> web.StreamResponse:
        """Compress for the transfer, which nobody asked for (RFC 9112, 7)."""
        body = gzip.compress(request.headers.get("Authorization", "none").encode() * 50)
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
        assert request.transport
        request.transport.write(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        request.transport.close()
        return web.Response()

    async def _on_cookie(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="fine", headers={"Set-Cookie": "session=1234"})

    async def _on_switch(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=101, headers={"Connection": "Upgrade", "Upgrade": "other"})

    async def _on_sse(self, request: web.BaseRequest) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        await reply.write(b"data: first\n\n")
        await asyncio.to_thread(self.go_on.wait, 20)
        await reply.write(b"data: second\n\n")
        await reply.write_eof()
        return reply

    async def _on_big(self, request: web.BaseRequest) -> web.StreamResponse:
        size = int(request.path.rsplit("/", 1)[1])
        reply = web.StreamResponse(headers={"Content-Length": str(size)})
        await reply.prepare(request)
        block = bytes(1 << 18)
        while size > 0 and request.method != "HEAD":
            await reply.write(block[:size])
            size -= len(block)
        await reply.write_eof()
        return reply

    async def _on_ws(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=["chat"])
        await socket.prepare(request)
        await socket.send_str("hello " + request.headers.get("Authorization", "nobody"))
        async for message in socket:
            await socket.send_str("echo " + message.data)
        return socket

    async def _on_moved(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": "https://elsewhere.test/secretless"})

    async def _on_status(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=int(request.path.rsplit("/", 1)[1]), headers={"ETag": '"x"'})
