"""The selftest itself: it finds the holes of a bottle that has no walls, and says plainly what it could not try."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import pytest

from bb_jupyter.backend.execution import Chunk, Execution
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.session import current
from bb_jupyter.errors import PromiseBroken, UsageError
from bb_jupyter.gateway.egress_plan import EgressPlan, RoutePlan
from bb_jupyter.notebook import commands
from bb_jupyter.selftest import (
    Canary,
    Probe,
    PromiseCheck,
    PromiseResult,
    host,
    network,
    proxy,
    require,
    secrets,
    selftest,
)
from bb_jupyter.selftest.probe import Attempt
from bb_jupyter.selftest.probe import Probe as RealProbe
from tests.contract.conftest import Launch
from tests.leftovers import Engine


class _OnTheHost(Execution):
    """A command without any sandbox."""

    def __init__(self, argv: Sequence[str], stdin: bytes | None, timeout: float | None) -> None:
        super().__init__(timeout=timeout)
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, process_group=0)
        assert self._child.stdin and self._child.stdout
        threading.Thread(target=self._feed, args=(self._child.stdin, stdin or b""), daemon=True).start()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._child.stdout, selectors.EVENT_READ)

    @staticmethod
    def _feed(pipe: IO[bytes], data: bytes) -> None:
        with pipe:
            pipe.write(data)

    def _read(self, timeout: float | None) -> Sequence[Chunk] | int:
        if not self._selector.select(timeout):
            return ()
        assert self._child.stdout
        data = os.read(self._child.stdout.fileno(), 65536)
        return [Chunk("stdout", data)] if data else self._child.wait()

    def _send_kill(self) -> None:
        if self._child.poll() is None:
            os.killpg(self._child.pid, signal.SIGKILL)

    def _close(self) -> None:
        self._selector.close()


class _NoWalls:
    """What a check sees of a bottle, on the bare host."""

    name = "none"
    plan = SimpleNamespace(slug="none-00000000", spec=SimpleNamespace(env={}))

    def __init__(self, state: str = "none", *routes: RoutePlan) -> None:
        self.bottle = SimpleNamespace(network=SimpleNamespace(state=state, routes=EgressPlan(routes)))

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Execution:
        return _OnTheHost(argv, stdin, timeout)

    def cp_out(self, source: str, target: Path) -> None:
        shutil.copytree(source, target, symlinks=True)


def _handle(state: str = "none", *routes: RoutePlan) -> BottleHandle:
    return cast(BottleHandle, _NoWalls(state, *routes))


@pytest.mark.parametrize(
    "check",
    [
        network.raw_sockets,
        network.datagrams,
        network.other_families,
        secrets.environment,
        host.copies_out,
        host.processes_of_the_host,
        host.privileges,
    ],
    ids=lambda check: check.__name__,
)
def test_a_missing_wall_is_found(check: PromiseCheck, canary: Canary) -> None:
    verdict = check(Probe(_handle(), canary))
    assert verdict.ok is False, verdict
    with pytest.raises(PromiseBroken, match=verdict.promise):
        require([verdict])


def test_a_home_of_the_host_is_found(canary: Canary, home: Path) -> None:
    assert host.host_files(Probe(_handle(), canary)).ok is False


class _Proxy(socketserver.StreamRequestHandler):
    """Answers every request on a connection with `answer`."""

    answer = b""
    timeout = 0.5

    def handle(self) -> None:
        with suppress(OSError):
            while line := self.rfile.readline():
                while line not in (b"", b"\r\n"):
                    line = self.rfile.readline()
                self.wfile.write(self.answer)


@pytest.fixture
def at_proxy(canary: Canary) -> Iterator[Callable[[bytes], Probe]]:
    """Return a probe whose gateway answers everything with the same words."""
    servers: list[socketserver.ThreadingTCPServer] = []

    class AtProxy(RealProbe):
        def proxied(self, *requests: bytes) -> Attempt:
            return Attempt("tcp", "127.0.0.1", servers[0].server_address[1], requests)

    def make(answer: bytes) -> Probe:
        handler = type("Handler", (_Proxy,), {"answer": answer})
        servers.append(socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[0].serve_forever, args=(0.02,), daemon=True).start()
        return AtProxy(_handle("open", RoutePlan("ok.test"), RoutePlan("*.wild.test")), canary)

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


_PROXY_CHECKS = [check for check in vars(proxy).values() if hasattr(check, "__wrapped__")]


@pytest.mark.parametrize("check", _PROXY_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\nX-Bottle-Denied: bad-moon\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=["allows", "tries", "names-no-rule", "names-another-rule"],
)
def test_a_gateway_that_does_not_refuse_is_found(
    at_proxy: Callable[[bytes], Probe], check: PromiseCheck, answer: bytes
) -> None:
    verdict = check(at_proxy(answer))
    if check is proxy.tls_names and b" 502 " in answer:
        assert verdict.ok is None  # the listed host itself may be down
    elif check is proxy.tls_names and b" 403 " in answer:
        assert verdict.ok is not True
    else:
        assert verdict.ok is False, verdict


@pytest.mark.docker
@pytest.mark.parametrize("backend", ["docker"], indirect=True)
def test_it_runs_where_the_image_has_only_a_shell(engine: Engine, launch: Launch) -> None:
    handle = launch(image=engine.busybox_image, allow=("ok.test",))
    verdicts = selftest(handle)
    assert [str(verdict) for verdict in verdicts if verdict.ok is False] == []
    not_run = {verdict.promise: verdict.detail for verdict in verdicts if verdict.ok is None}
    assert "python3" in not_run["P1.other-families"]
    tried = {verdict.promise for verdict in verdicts if verdict.ok}
    assert {"P1.raw-sockets", "P1.unlisted-hosts", "P1.address-literals", "P2.environment", "P2.files"} <= tried


def test_the_command_shows_a_verdict_a_row(
    backend: str, bottle_name: str, nothing_left: None, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.run(["selftest", bottle_name, "--new", "--backend", backend], {}, "bb-jupyter")
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["promise", "verdict", "what", "was", "tried"]
    assert [row.split()[1] for row in rows[1:] if row.startswith("P1.raw-sockets")] == ["ok"]
    assert current().handles() == []


def test_the_command_tests_no_bottle_that_is_not_there(bottle_name: str) -> None:
    with pytest.raises(UsageError, match="no bottle"):
        commands.run(["selftest", bottle_name], {})
    with pytest.raises(UsageError, match="--new"):
        commands.run(["selftest", bottle_name, "--allow", "ok.test"], {})


def test_the_policy_is_not_touched(launch: Launch) -> None:
    handle = launch(allow=("ok.test",))
    events: list[dict[str, Any]] = []
    handle.bottle.network.events.append(events.append)
    before = handle.bottle.network.routes
    selftest(handle)
    assert handle.bottle.network.routes == before
    assert [event for event in events if event["event"] == "policy"] == []


def test_what_could_not_be_tried_does_not_fail() -> None:
    require([PromiseResult("P1.x", None, "no tool"), PromiseResult("P1.y", True, "fine")])
