"""Rows about egress: launch with a gateway, requests through it against mitmdump, tunnels, latency, memory."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from socket import create_connection, create_server
from tempfile import TemporaryDirectory
from typing import Any

from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.gateway.audit.audit_log import AuditLog
from bb_jupyter.gateway.control.gateway_client import GatewayClient
from bb_jupyter.gateway.control.gateway_config import GatewayConfig
from bb_jupyter.policy.routes import AuthConfig, RouteConfig
from tests.bench.measure import Row, alternately, percentiles

_HOST, _TUNNELLED, _TOKEN = "localhost", "files.test", "sk-bench-0123456789abcdef"  # mitmdump resolves the first
_MITMPROXY = Path(".cache/mitmproxy")
_TUNNELLED_BYTES = 256 << 20
_names = (f"egress{number}" for number in itertools.count())


def rows(session: Session) -> Iterator[Row]:
    """Measure everything about egress that needs no Docker engine."""
    yield bubblewrap_launch(session)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bb-")))
        traffic = _Traffic(stack, folder)
        gateway = stack.enter_context(_gateway(traffic.server, folder))
        memory = Row("memory of a gateway: after the requests", "mitmdump", "-", unit="MB")
        memory.facts["before them"] = _resident(gateway.pid)
        mitmdump = _mitmdump(stack, traffic.server, folder)
        yield _requests(traffic, gateway, mitmdump)
        memory.ours.append(_resident(gateway.pid))
        if mitmdump:
            memory.theirs.append(_resident(mitmdump.pid))
        yield memory
        yield _latency(traffic, gateway)
        yield _tunnel(traffic, gateway)


def bubblewrap_launch(session: Session) -> Row:
    """From nothing to the first byte of output, against the same without a network and then a gateway by itself."""
    row = Row("bubblewrap with gateway: launch to first byte", "launch, then a gateway", "<= 1x")

    def launch(*allow: str) -> None:
        handle = session.launch(next(_names), LaunchOptions(backend="bubblewrap", allow=allow))
        next(iter(handle.exec(["echo", "x"])))

    def one_after_the_other() -> None:
        launch()
        GatewayClient.spawn(GatewayConfig("bench-0a1b2c3d"), {}).stop()

    row.ours, row.theirs = alternately(9, lambda: launch("example.org"), one_after_the_other)
    session.stop_all()
    return row


class _Proxy:
    """A proxy that runs.

    Args:
        pid: its process.
        port: where it listens.
        ca: file with its CA.
    """

    def __init__(self, pid: int, port: int, ca: Path) -> None:
        self.pid, self.port, self.ca = pid, port, ca


class _Traffic:
    """A server, and load on it, directly or through a proxy."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._ca = folder / "server-ca.pem"
        given = json.dumps({"folder": str(folder)})
        command = [sys.executable, "-m", "tests.bench.traffic", "server", given]
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
        stack.callback(process.kill)
        assert process.stdout
        self.server = int(process.stdout.readline())

    def run(self, path: str, proxy: _Proxy | None = None, *, host: str = _HOST, **more: int) -> dict[str, Any]:
        """Load the server; see `tests.bench.traffic.load`."""
        trusted = self._ca if proxy is None or host == _TUNNELLED else proxy.ca
        given = {"host": host, "ca": str(trusted), "path": path, "port": self.server, **more}
        if proxy:
            given["proxy"] = proxy.port
        command = [sys.executable, "-m", "tests.bench.traffic", "load", json.dumps(given)]
        found: dict[str, Any] = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=120).stdout
        )
        return found


@contextmanager
def _gateway(server: int, folder: Path) -> Iterator[_Proxy]:
    """A gateway as a bottle has it, on a port of this host."""
    ca_pem, resolve = (folder / "server-ca.pem").read_text(), f"127.0.0.1:{server}"
    routes = (
        RouteConfig(_HOST, server, methods=("GET", "POST"), paths=("/api",), auth=AuthConfig("bearer", _TOKEN),
                    resolve=resolve, ca_pem=ca_pem),
        RouteConfig(_TUNNELLED, server, resolve=resolve),
    )  # fmt: skip
    config = GatewayConfig("bench-0a1b2c3d", "bench", routes)
    with closing(create_server(("127.0.0.1", 0), backlog=512)) as listener:
        client = GatewayClient.spawn(config, {"egress": listener.fileno()}, audit=AuditLog("bench-0a1b2c3d"))
        port = listener.getsockname()[1]
    ca = folder / "gateway-ca.pem"
    ca.write_text(client.ca_pem)
    try:
        yield _Proxy(client.pid, port, ca)
    finally:
        client.stop()


def _mitmdump(stack: ExitStack, server: int, folder: Path) -> _Proxy | None:
    """Start mitmdump with the same rules, from an environment of its own, made on first use."""
    program = _MITMPROXY / "bin/mitmdump"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(_MITMPROXY)], check=True)
        install = [str(_MITMPROXY / "bin/pip"), "install", "--quiet", "mitmproxy"]
        if subprocess.run(install, check=False).returncode:
            print("mitmproxy cannot be installed: the rows that need it are measured without")
            return None
    with closing(create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    settings = {
        "confdir": folder / "mitmproxy", "connection_strategy": "lazy", "http2": "false",
        "ssl_verify_upstream_trusted_ca": folder / "server-ca.pem",
    }  # fmt: skip
    command = [str(program), "-q", "-s", "tests/bench/mitmproxy_rules.py"]
    command += ["--listen-host", "127.0.0.1", "--listen-port", str(port)]
    command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    rules = {"host": _HOST, "methods": ["GET", "POST"], "path": "/api", "token": _TOKEN, "port": server}
    process = stack.enter_context(subprocess.Popen(command, env={**os.environ, "BB_BENCH_RULES": json.dumps(rules)}))
    stack.callback(process.kill)
    _wait_for(port)
    return _Proxy(process.pid, port, folder / "mitmproxy/mitmproxy-ca-cert.pem")


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("mitmdump does not listen")


def _requests(traffic: _Traffic, gateway: _Proxy, mitmdump: _Proxy | None) -> Row:
    """Small requests that are looked into, judged, given a credential and redacted, on 32 connections."""
    row = Row("egress: intercepted requests", "mitmdump", ">= 3x", unit="requests/s")
    for number in range(6):
        for proxy, samples in ((gateway, row.ours), (mitmdump, row.theirs)):
            if proxy:
                found = traffic.run("/api/echo", proxy, connections=32, requests=60)
                if number:  # the first warms up
                    samples.append(len(found["latencies"]) / found["seconds"])
    return row


def _latency(traffic: _Traffic, gateway: _Proxy) -> Row:
    """One request at a time, on one connection."""
    row = Row("egress: an intercepted request, one at a time", "direct", "-")
    for _ in range(4):
        row.ours += traffic.run("/api/echo", gateway, connections=1, requests=300)["latencies"]
        row.theirs += traffic.run("/api/echo", connections=1, requests=300)["latencies"]
    ours, theirs = percentiles(row.ours), percentiles(row.theirs)
    row.facts = {f"adds {key} ms": ours[key] - theirs[key] for key in ours}
    return row


def _tunnel(traffic: _Traffic, gateway: _Proxy) -> Row:
    """One large download that the gateway only relays."""
    row = Row("egress: tunnelled throughput", "direct", ">= 0.5x", unit="MB/s")
    for _ in range(5):
        for proxy, samples in ((gateway, row.ours), (None, row.theirs)):
            found = traffic.run(f"/api/{_TUNNELLED_BYTES}", proxy, host=_TUNNELLED, connections=1, requests=1)
            samples.append(found["bytes"] / found["seconds"] / 1e6)
    return row


def _resident(pid: int) -> float:
    """Return the memory that a process holds for itself and its share of what it holds with others, in MB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.partition("\nPss:")[2].split(None, 1)[0]) / 1024
