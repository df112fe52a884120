"""The console's routes as REST handlers: authenticated, XSRF-checked (`APIHandler` does), arguments by pattern."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import url_path_join
from tornado import web

from bb_jupyter.server.kernels import Kernels
from bb_jupyter.webapi import bottles
from bb_jupyter.webapi.routes import ROUTES, Call, Json, Route, guarded

P = ParamSpec("P")
T = TypeVar("T")

#: Below the server's base URL.
ROOT = "bb-jupyter"
#: An approved push may take minutes; nothing else waits for it.
_threads = ThreadPoolExecutor(32, thread_name_prefix="bb_jupyter")


class ConsoleHandler(APIHandler):
    """One route of the console.  Whatever takes time happens on a thread."""

    auth_resource = "bb_jupyter"
    route: Route

    def initialize(self, route: Route) -> None:
        """Take what `add_handlers` gives."""
        self.route = route

    @web.authenticated
    @authorized
    async def get(self, **parts: str) -> None:
        """Tell."""
        await self._answer("GET", parts)

    @web.authenticated
    @authorized
    async def post(self, **parts: str) -> None:
        """Do."""
        await self._answer("POST", parts)

    @web.authenticated
    @authorized
    async def delete(self, **parts: str) -> None:
        """Remove."""
        await self._answer("DELETE", parts)

    async def _answer(self, method: str, parts: dict[str, str]) -> None:
        act = self.route.methods.get(method)
        if act is None:
            raise web.HTTPError(405)
        query = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        status, answer = await _in_thread(guarded, act, Call(parts, query, self._body()))
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        await self.finish(json.dumps(answer))

    def _body(self) -> Json:
        if not self.request.body:
            return {}
        body: Any = self.get_json_body()
        if not isinstance(body, dict):
            raise web.HTTPError(400, "a JSON object is wanted")
        return body


async def _in_thread(act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return await asyncio.get_running_loop().run_in_executor(_threads, partial(act, *args, **kwargs))


def add_handlers(server: ServerApp) -> None:
    """Serve every route below the base URL."""
    bottles.kernel_of = Kernels(server).of
    base = server.web_app.settings["base_url"]
    handlers = [(url_path_join(base, ROOT, route.pattern), ConsoleHandler, {"route": route}) for route in ROUTES]
    server.web_app.add_handlers(".*$", handlers)  # type: ignore[no-untyped-call]
