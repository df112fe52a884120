"""The way from a local machine to its gateway: who is let through, where to, and what happens when one of them dies."""

from __future__ import annotations

import errno
import os
import signal
import socket
from pathlib import Path

import pytest

from bb_jupyter.backend import registry
from bb_jupyter.backend.smolmachines.egress_interceptor import Interceptor
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from tests.contract.conftest import out
from tests.smolmachines.local_fixtures import bottle, options, root, session
from tests.smolmachines.native import Machine, dial, verdict
from tests.smolmachines.server import wait_until

__all__ = ["bottle", "options", "root", "session"]

pytestmark = [pytest.mark.smolmachines, pytest.mark.bubblewrap]


def ask(connection: socket.socket, text: str) -> bytes:
    """Send a request and read the whole answer."""
    connection.sendall(text.encode())
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    return answer


def request(host: str) -> str:
    return f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"


def child(program: str) -> int:
    """Return the process of this one that runs *program*."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == os.getpid() and program.encode() in arguments:
            found.append(int(folder.name))
    (one,) = found
    return one


REFUSED = bytes([errno.ECONNREFUSED])


def test_without_routes_nothing_answers(bottle: BottleHandle) -> None:
    assert [verdict(port) for port in (3128, 9418, 9100, 80, 8888)] == [REFUSED] * 5


def test_the_gateway_is_reached_and_refuses_what_is_not_listed(bottle: BottleHandle) -> None:
    assert bottle.allow("new.test") == 1
    with dial(3128) as connection:
        assert connection.recv(1) == b"\0"
        answer = ask(connection, request("other.test"))
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert f"X-Bottle-Denied: no-route; %bottle allow {bottle.name} other.test".encode() in answer


def test_no_other_address_is_reached(bottle: BottleHandle) -> None:
    bottle.allow("new.test")
    for address in ("127.0.0.1", "169.254.169.254", "192.0.2.2", "10.0.0.1", "8.8.8.8", "::1", "::ffff:192.0.2.1"):
        assert verdict(3128, address) == REFUSED, address
    assert verdict(3128) == b"\0"


def test_no_port_of_the_host_is_reached(bottle: BottleHandle) -> None:
    bottle.allow("new.test")
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        assert verdict(port) == REFUSED
        assert verdict(port, "127.0.0.1") == REFUSED
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()


def test_who_is_not_the_machine_gets_no_answer(bottle: BottleHandle) -> None:
    bottle.allow("new.test")
    wrong: list[dict[str, object]] = [{"token": "00" * 32}, {"magic": b"SMOLICPT\x02"}, {"magic": b"GET / HTT"}]
    for how in wrong:
        assert verdict(3128, **how) == b"", how


def test_a_gateway_that_died_means_no_network(bottle: BottleHandle) -> None:
    bottle.allow("new.test")
    os.kill(child("bb_jupyter.gateway"), signal.SIGKILL)
    wait_until(lambda: bottle.bottle.network.state == "lost")
    assert verdict(3128) == REFUSED
    bottle.allow("newer.test")
    with dial(3128) as connection:
        assert connection.recv(1) == b"\0"
        assert b"403" in ask(connection, request("other.test"))


def test_a_doorman_that_died_means_no_network(bottle: BottleHandle) -> None:
    os.kill(child("bb_jupyter.backend.smolmachines.egress_interceptor_process"), signal.SIGKILL)

    def refused() -> bool:
        try:
            dial(3128).close()
        except ConnectionError:
            return True
        return False

    wait_until(refused)


def test_what_is_long_comes_through(bottle: BottleHandle) -> None:
    bottle.allow("new.test")
    with dial(3128) as connection:
        assert connection.recv(1) == b"\0"
        long = "x" * 30_000
        answer = ask(
            connection, f"GET http://other.test/{long} HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n"
        )
    assert answer.startswith(b"HTTP/1.0 400 ")  # the gateway's own word: all of it has come


def test_the_human_is_reached_by_the_plans_url(
    session: Session, bottle_name: str, options: dict[str, object], home: Path
) -> None:
    (home / "bottles").mkdir()
    (home / "bottles" / "asked.md").write_text("---\nsupervise: true\n---\n")
    handle = session.launch(bottle_name, LaunchOptions(**options, bottle="asked"))  # type: ignore[arg-type]
    url = registry.get("smolmachines").supervise_mcp_url(handle.plan)
    assert url == "http://192.0.2.1:9100/"
    body = '{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}'
    head = f"POST / HTTP/1.1\r\nHost: {url[7:-1]}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    head += f"Accept: application/json, text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
    with dial(9100) as connection:
        assert connection.recv(1) == b"\0"
        answer = ask(connection, head + body)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert b"tools" in answer
    assert verdict(9418) == REFUSED


def test_programs_go_to_the_services_directly(bottle: BottleHandle) -> None:
    bottle.allow("new.test")
    assert out(bottle, "echo $NO_PROXY").strip().endswith(",supervise,192.0.2.1")
    assert out(bottle, "echo $HTTPS_PROXY").strip() == "http://egress:3128"


def test_the_token_is_the_owners_alone(bottle: BottleHandle, home: Path) -> None:
    (machine,) = Machine.machines.values()
    assert machine.interceptor is not None
    token = machine.interceptor[1]
    (file,) = [
        path for path in (home / "state").rglob("*") if path.is_file() and token in path.read_text(errors="replace")
    ]
    assert file.name == "egress-interceptor.json"
    assert file.stat().st_mode & 0o077 == 0
    assert token not in bottle.plan.text() + repr(bottle.plan) + str(machine.config)
    commands = b"".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    assert token.encode() not in commands


def test_the_file_of_an_earlier_version(home: Path) -> None:
    folder = home / "state" / "old-00000001"
    first = Interceptor.open(folder.name)
    first.close()
    (folder / "egress-interceptor.json").rename(folder / "doorman.json")
    second = Interceptor.reopen(folder.name)
    second.close()
    assert second.binding == first.binding
