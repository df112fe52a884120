"""A smol cloud on loopback: the `/v1` requests that the SDK's cloud transport makes, executed for real.

Each machine is a sandbox of the bubblewrap backend, so commands, kills, files and exit codes are what they are.  Text
is handed on as the cloud does: decoded as UTF-8, as server-sent events.  A connection that goes away kills nothing, and
a branch has no labels: the API promises neither.  `Cloud.faults` breaks what comes next.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aiohttp import web

from bb_jupyter.backend import Bottle, BottleSpec
from bb_jupyter.backend.bubblewrap.backend import BubblewrapBackend
from bb_jupyter.backend.execution import Execution
from bb_jupyter.manifest import Limits

#: The key that the server takes.
KEY = "smk_test_0123456789"
#: Users that a machine knows; its sandbox has one only.
_USERS = {None, "0:0", "root", "1000", "1000:1000", "agent"}
_TEXT = 1 << 20


@dataclass
class Fault:
    """What happens to a request instead of, or in the middle of, being served.

    Attributes:
        method: of the request.
        path: what its path ends in.
        status: answer with this; 0 for none.
        headers: of that answer.
        body: of that answer; also of a stream that is not the command's.
        drop: close the connection without an answer; in a stream: after that many events.
        hang: seconds before anything is answered.
        events: what to stream instead of running the command.
        times: how often.
    """

    method: str
    path: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    drop: bool | int = False
    hang: float = 0.0
    events: list[tuple[str, str]] | None = None
    times: int = 1


@dataclass
class Machine:
    """One machine of the cloud."""

    id: str
    body: dict[str, Any]
    labels: dict[str, str]
    state: str = "created"
    bottle: Bottle | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def name(self) -> str:
        """As its maker called it."""
        return str(self.body.get("name") or self.id)

    def told(self) -> dict[str, Any]:
        """Return its record as the API gives it."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "ready": self.state == "started",
            "labels": self.labels,
            "source": self.body.get("source", {}),
            "resources": {"cpus": 1, "memoryMb": 512, "diskGb": 4, **(self.body.get("resources") or {})},
            "forkable": bool(self.body.get("forkable")),
            "createdAt": "2026-01-01T00:00:00Z",
            "ports": [],
        }


_FAULT = web.RequestKey("fault", Fault)


class Cloud:
    """The server; `url` and `KEY` are what a client needs.

    Attributes:
        machines: by id.
        credentials: by name, as they were stored.
        requests: `METHOD path` of each request, in order.
        faults: what is broken; each is used up in order.
    """

    def __init__(self) -> None:
        self.machines: dict[str, Machine] = {}
        self.credentials: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.faults: list[Fault] = []
        self.url = ""
        self._backend = BubblewrapBackend()
        self._cloning = threading.Lock()
        self._pool = ThreadPoolExecutor(300, "cloud")
        self._folder = TemporaryDirectory(prefix="bb-cloud-")
        self._loop = asyncio.new_event_loop()
        self._runner: web.AppRunner | None = None

    @contextmanager
    def serving(self) -> Iterator[Cloud]:
        """Serve on a port of the system's choice until the context is left; all machines end then."""
        started = threading.Event()
        thread = threading.Thread(target=self._run, args=(started,), name="cloud", daemon=True)
        thread.start()
        assert started.wait(30)
        try:
            yield self
        finally:
            for machine in [*self.machines.values()]:
                machine.stack.close()
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join(30)
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._folder.cleanup()

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        started.set()
        self._loop.run_forever()
        if self._runner:
            self._loop.run_until_complete(self._runner.cleanup())

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._guard], client_max_size=200 << 20)
        route = app.router.add_route
        route("POST", "/v1/machines", self._create)
        route("GET", "/v1/machines", self._list)
        route("GET", "/v1/machines/{id}", self._get)
        route("DELETE", "/v1/machines/{id}", self._delete)
        route("POST", "/v1/machines/{id}/start", self._boot)
        route("POST", "/v1/machines/{id}/stop", self._stop)
        route("POST", "/v1/machines/{id}/exec", self._exec)
        route("POST", "/v1/machines/{id}/exec/stream", self._stream)
        route("POST", "/v1/machines/{id}/branches", self._branch)
        route("GET", "/v1/machines/{id}/files/{path:.*}", self._read)
        route("PUT", "/v1/machines/{id}/files/{path:.*}", self._write)
        route("PUT", "/v1/credentials/{name}", self._credential)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        server = site._server
        assert server is not None
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]

    @web.middleware
    async def _guard(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return web.json_response({"detail": "invalid api key"}, status=401)
        fault = self._fault(request)
        if fault:
            await asyncio.sleep(fault.hang)
            if fault.drop is True:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            if fault.status:
                return web.Response(status=fault.status, headers=fault.headers, text=fault.body)
            request[_FAULT] = fault
        try:
            response: web.StreamResponse = await handler(request)
        except KeyError:
            return web.json_response({"detail": "no such machine"}, status=404)
        return response

    def _fault(self, request: web.Request) -> Fault | None:
        for fault in self.faults:
            if fault.method == request.method and request.path.endswith(fault.path):
                fault.times -= 1
                if not fault.times:
                    self.faults.remove(fault)
                return fault
        return None

    async def _aside(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await self._loop.run_in_executor(self._pool, work, *arguments)

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body["source"]["type"] == "image"
        machine = Machine(f"mach-{secrets.token_hex(6)}", body, dict(body.get("labels") or {}))
        self.machines[machine.id] = machine
        return web.json_response(machine.told(), status=201)

    async def _list(self, request: web.Request) -> web.Response:
        wanted = [label.split("=", 1) for label in request.query.getall("label", [])]
        found = [m for m in self.machines.values() if all(m.labels.get(key) == value for key, value in wanted)]
        return web.json_response({"machines": [machine.told() for machine in found]})

    async def _get(self, request: web.Request) -> web.Response:
        machine = self.machines[request.match_info["id"]]
        if machine.bottle is not None and not machine.bottle.alive:
            machine.state = "stopped"
        return web.json_response(machine.told())

    async def _delete(self, request: web.Request) -> web.Response:
        machine = self.machines.pop(request.match_info["id"])
        await self._aside(machine.stack.close)
        return web.Response(status=204)

    async def _stop(self, request: web.Request) -> web.Response:
        machine = self.machines[request.match_info["id"]]
        await self._aside(machine.stack.close)
        machine.state = "stopped"
        return web.json_response(machine.told())

    async def _boot(self, request: web.Request) -> web.Response:
        machine = self.machines[request.match_info["id"]]
        resources = machine.body.get("resources") or {}
        memory, disk = resources.get("memoryMb"), resources.get("diskGb")
        limits = Limits(memory=memory and memory << 20, pids=512, disk=disk and disk << 30, cpus=resources.get("cpus"))
        bound = [self.credentials[name] for name in machine.body.get("credentials", ())]
        env = {**(machine.body.get("env") or {}), **{each["envVar"]: "SMOL_PLACEHOLDER" for each in bound}}
        spec = BottleSpec(name=machine.id, backend="bubblewrap", limits=limits, env=env)
        plan = self._backend.prepare(spec, slug=machine.id, stage_dir=Path(self._folder.name))
        await self._aside(self._enter, machine, plan)
        return web.json_response(machine.told())

    def _enter(self, machine: Machine, plan: Any) -> None:
        machine.bottle = machine.stack.enter_context(self._backend.launch(plan))
        machine.state = "started"

    async def _branch(self, request: web.Request) -> web.Response:
        source = self.machines[request.match_info["id"]]
        body = await request.json()
        if not source.body.get("forkable"):
            return web.json_response({"detail": "machine is not branchable"}, status=409)
        child = Machine(f"mach-{secrets.token_hex(6)}", {**source.body, "name": body["name"], "labels": {}}, {})
        await self._aside(self._clone, source, child)
        self.machines[child.id] = child
        return web.json_response(child.told(), status=201)

    def _clone(self, source: Machine, child: Machine) -> None:
        with self._cloning, _archive_of(self._running(source)) as plan:
            self._enter(child, plan.renamed(child.id, child.id, Path(self._folder.name)))

    @staticmethod
    def _running(machine: Machine) -> Bottle:
        if machine.bottle is None or machine.state != "started":
            raise KeyError(machine.id)
        return machine.bottle

    def _execution(self, machine: Machine, body: dict[str, Any], timeout: float | None = None) -> Execution:
        stdin = body.get("stdin")
        return self._running(machine).exec(
            body["command"],
            env=body.get("env") or {},
            cwd=body.get("cwd") or "/",
            stdin=None if stdin is None else stdin.encode(),
            timeout=timeout,
        )

    async def _exec(self, request: web.Request) -> web.Response:
        machine, body = self.machines[request.match_info["id"]], await request.json()
        if body.get("user") not in _USERS:
            return web.json_response({"detail": f"unable to find user {body['user']}"}, status=400)
        done = await self._aside(lambda: self._execution(machine, body, body.get("timeoutSeconds")).wait())
        answer = {
            "exitCode": done.returncode,
            "stdout": done.stdout[:_TEXT].decode("utf-8", "replace"),
            "stderr": done.stderr[:_TEXT].decode("utf-8", "replace"),
            "stdoutB64": base64.b64encode(done.stdout).decode(),
            "stderrB64": base64.b64encode(done.stderr).decode(),
        }
        return web.json_response(answer | ({"user": body["user"]} if "user" in body else {}))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        machine, body = self.machines[request.match_info["id"]], await request.json()
        fault: Fault | None = request.get(_FAULT)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        if fault is not None and fault.events is not None:
            await response.prepare(request)
            for kind, data in fault.events:
                await response.write(_event(kind, data))
            return response
        execution = await self._aside(self._execution, machine, body)
        await response.prepare(request)
        most = fault.drop if fault is not None and fault.drop else None
        try:
            await self._pass_on(execution, response, most)
        except (ConnectionError, asyncio.CancelledError):
            self._pool.submit(_drain, execution)  # nobody listens any more; the command goes on
            raise
        if most is not None:
            assert request.transport is not None
            request.transport.abort()
            self._pool.submit(_drain, execution)
        return response

    async def _pass_on(self, execution: Execution, response: web.StreamResponse, most: int | None) -> None:
        sent = 0
        while execution.running:
            try:
                chunks = await self._aside(execution.poll, 5.0)
            except Exception as error:  # the sandbox died: the machine is gone
                await response.write(_event("error", f"machine interrupted: {error}"))
                return
            for chunk in chunks:
                await response.write(_event(chunk.stream, chunk.data.decode("utf-8", "replace")))
                sent += 1
                if most is not None and sent >= most:
                    return
        status = execution.wait().returncode
        await response.write(_event("exit", json.dumps({"exitCode": status})))

    async def _read(self, request: web.Request) -> web.Response:
        machine = self.machines[request.match_info["id"]]
        body = {"command": ["cat", "/" + request.match_info["path"].lstrip("/")]}
        done = await self._aside(lambda: self._execution(machine, body).wait())
        if done.returncode:
            return web.json_response({"detail": "no such file"}, status=404)
        return web.Response(body=done.stdout, content_type="application/octet-stream")

    async def _write(self, request: web.Request) -> web.Response:
        machine, data = self.machines[request.match_info["id"]], await request.read()
        path = "/" + request.match_info["path"].lstrip("/")
        script = 'mkdir -p "${1%/*}" && cat >"$1"'
        bottle = self._running(machine)
        done = await self._aside(lambda: bottle.exec(["sh", "-c", script, "sh", path], stdin=data).wait())
        return web.Response(status=500 if done.returncode else 204, text=done.stderr.decode())

    async def _credential(self, request: web.Request) -> web.Response:
        self.credentials[request.match_info["name"]] = await request.json()
        return web.Response(status=204)


@contextmanager
def _archive_of(bottle: Bottle) -> Iterator[Any]:
    """Hold the files of a sandbox; its backend wants a state directory, which a machine has not."""
    from bb_jupyter.backend.state import state_dir

    folder = state_dir() / bottle.slug
    folder.mkdir(mode=0o700)
    try:
        with bottle.snapshot() as plan:
            yield plan
    finally:
        with suppress(OSError):
            folder.rmdir()


def _drain(execution: Execution) -> None:
    with suppress(Exception):
        while execution.running:
            execution.poll(1.0)


def _event(kind: str, data: str) -> bytes:
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return f"event: {kind}\n{lines}\n".encode()


def wait_until(condition: Callable[[], bool], within: float = 20.0) -> None:
    """Wait for what happens beside us."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
