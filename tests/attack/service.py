"""The server that a bottle is allowed to reach: what arrived here was let through."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from bb_jupyter.gateway.proxy.ca import LeafAuthority


@dataclass(frozen=True)
class Arrived:
    """One request."""

    method: str
    target: str
    headers: dict[str, str]
    secure: bool


class Service:
    """An HTTPS and an HTTP server, in a thread, that record every request and every TLS hello.

    `/reflect` gives the credential back, `/moved` redirects, `/files/...` serves *folder*, `pages` has whole answers by
    path (content type, body), the rest is an echo.

    Args:
        address: where to listen.
        folder: for its CA's certificate (`ca_file`) and for `/files/`.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder
        self.authority = LeafAuthority("service")
        self.ca_file = folder / "service-ca.pem"
        self.ca_file.write_text(self.authority.cert_pem)
        self.requests: list[Arrived] = []
        self.hellos: list[str | None] = []
        self.pages: dict[str, tuple[str, bytes]] = {}
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._started.wait(20)

    def route(self, host: str, **keys: object) -> dict[str, object]:
        """Return a manifest's route by which *host* is this server."""
        if keys.get("scheme") == "http":
            return {"host": host, "resolve": f"{self.address}:{self.plain_port}", **keys}
        return {"host": host, "resolve": f"{self.address}:{self.tls_port}", "ca": str(self.ca_file), **keys}

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        context = self.authority.context("default.test")
        context.sni_callback = self._by_name
        server = web.Server(self._handle, access_log=None)
        secure = await self._loop.create_server(server, self.address, 0, ssl=context)
        plain = await self._loop.create_server(server, self.address, 0)
        self.tls_port, self.plain_port = (s.sockets[0].getsockname()[1] for s in (secure, plain))
        self._started.set()
        await self._stop.wait()
        await server.shutdown(0.05)  # 0 would be for ever

    def _by_name(self, sock: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        self.hellos.append(name)
        if name:
            sock.context = self.authority.context(name)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(Arrived(request.method, request.raw_path, dict(request.headers), request.secure))
        if request.path in self.pages:
            content_type, data = self.pages[request.path]
            return web.Response(body=data, content_type=content_type)
        if request.path == "/moved":
            return web.Response(status=302, headers={"Location": "https://other.test/"})
        if request.path == "/reflect":
            own = request.headers.get("Authorization", "none")
            return web.Response(status=500, reason="Oops", text=f"error: bad credential {own}", headers={"X-Echo": own})
        if request.path.startswith("/files/"):
            return self._file(request.path.removeprefix("/files/"))
        size = sum([len(chunk) async for chunk in request.content.iter_any()])
        return web.Response(text=json.dumps({"target": request.raw_path, "body": size, "marker": "service"}))

    def _file(self, name: str) -> web.StreamResponse:
        path = self.folder / name
        if not path.is_file():
            return web.Response(status=404, text="no such file\n")
        return web.Response(body=path.read_bytes(), content_type="application/octet-stream")
