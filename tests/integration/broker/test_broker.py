"""The broker's process by itself: what it is told, what it refuses, and when it ends."""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bb_jupyter.broker.broker_client import BrokerClient
from bb_jupyter.broker.broker_config import BrokerConfig, GitGateConfig, GitRepoConfig
from bb_jupyter.broker.broker_plan import GitGatePlan, GitRepoPlan, SupervisePlan
from bb_jupyter.errors import BackendUnavailable, ManifestError
from bb_jupyter.gateway.audit.audit_log import AuditLog, read_slug
from bb_jupyter.gateway.control.gateway_client import Event
from bb_jupyter.gateway.egress_plan import EgressPlan, RoutePlan
from tests.tools.broker import OPTIONS, stand_in

SLUG = "demo-0123abcd"
REPO = GitRepoConfig("widgets", "https://h.test/x.git", ("main",), username="u", token_ref="T", token="s3cret-token")
FULL = BrokerConfig(SLUG, "demo", True, GitGateConfig((REPO,), ("other-s3cret",)), SupervisePlan(7.0), ("true",))


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


class Heard:
    """Events, as they come."""

    def __init__(self) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        self.hear = self._events.put

    def until(self, kind: str) -> Event:
        while (event := self._events.get(timeout=60))["event"] != kind:
            pass
        return event


def test_a_configuration_travels_whole_and_shows_no_secret() -> None:
    assert BrokerConfig.from_json(json.dumps(FULL.to_json())) == FULL
    assert set(FULL.secrets) == {"s3cret-token", "other-s3cret"}
    assert "s3cret" not in repr(FULL)
    assert BrokerConfig.from_json(json.dumps(BrokerConfig(SLUG, "demo").to_json())) == BrokerConfig(SLUG, "demo")


@pytest.mark.parametrize("line", ["", "{", "[]", "{}", "null", '{"slug": "a", "name": "b", "more": 1}', "9" * 5000])
def test_what_is_no_configuration_is_refused(line: str) -> None:
    with pytest.raises(ManifestError):
        BrokerConfig.from_json(line)


def test_the_gate_knows_every_credential_of_the_bottle() -> None:
    values = {"T": "token-of-git", "R": "token-of-route"}
    git = GitGatePlan((GitRepoPlan("widgets", "https://h.test/x.git", username="u", token_ref="T"),))
    egress = EgressPlan((RoutePlan("h.test", auth_scheme="bearer", token_ref="R"),))
    config = BrokerConfig.from_plans(
        git, None, egress, slug=SLUG, name="demo", keep=False, resolve_token=values.__getitem__
    )
    assert config.git is not None
    assert set(config.git.secrets) == {*values.values()}
    assert config.git.repos[0].token == "token-of-git"
    assert config.supervise is None
    nothing = BrokerConfig.from_plans(
        GitGatePlan((), "A"), None, None, slug=SLUG, name="demo", keep=False, resolve_token=str
    )
    assert nothing.git is None


def test_it_serves_reports_and_ends(listening: socket.socket) -> None:
    heard = Heard()
    config = BrokerConfig(SLUG, "demo", supervise=SupervisePlan())
    client = BrokerClient.spawn(config, heard.hear, listeners={"supervise": listening.fileno()})
    client.wait_serving("supervise")
    assert b"supervise demo GET /emit 0" in _get(listening, "/emit")
    assert heard.until("told")["service"] == "supervise"
    with pytest.raises(BackendUnavailable, match="has a broker already"):
        other = BrokerClient.spawn(config, heard.hear)
        other.wait_ready()
    client.stop()
    assert not client.alive
    assert [event["event"] for event in read_slug(SLUG)][-1] == "broker-stopped"


@pytest.mark.parametrize("listeners", [{"git-gate": "socket"}, {"supervise": "file"}])
def test_a_wrong_socket_is_refused(listening: socket.socket, listeners: dict[str, str], tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        fds = {
            service: listening.fileno() if kind == "socket" else file.fileno() for service, kind in listeners.items()
        }
        client = BrokerClient.spawn(BrokerConfig(SLUG, "demo", supervise=SupervisePlan()), Heard().hear, listeners=fds)
        with pytest.raises(BackendUnavailable, match=r"service|socket"):
            client.wait_ready()
        client.stop()


@pytest.mark.parametrize("keep", [False, True])
def test_the_death_of_its_owner_ends_it_unless_its_bottle_runs(keep: bool) -> None:
    process = _process(BrokerConfig(SLUG, "demo", keep, supervise=SupervisePlan()))
    assert process.stdin is not None
    process.stdin.close()  # before "serve": there is no bottle
    assert process.wait(60) == 0


def test_one_that_is_kept_is_taken_over_with_what_nobody_heard(home: Path, listening: socket.socket) -> None:
    folder = home / "state" / ("long" * 30)  # longer than the address of a socket
    folder.mkdir(parents=True)
    path, fd = folder / "broker", listening.fileno()
    config = BrokerConfig(SLUG, "demo", True, supervise=SupervisePlan())
    process = _process(config, f"--control={path}", f"--listen-fd=supervise={fd}", fds=(fd,))
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b'{"op": "serve"}\n')
    process.stdin.close()
    while b"listening" not in process.stdout.readline():
        pass
    process.stdout.close()
    assert b"200 OK" in _get(listening, "/emit")
    heard = Heard()
    client = BrokerClient.connect(path, SLUG, heard.hear)
    assert client is not None
    client.wait_ready()
    assert client.pid == process.pid
    heard.until("told")
    client.detach()
    again = BrokerClient.connect(path, SLUG, heard.hear)
    assert again is not None
    again.stop()
    assert process.wait(60) == 0
    assert BrokerClient.connect(path, SLUG, heard.hear) is None


def test_control_messages_that_are_none_are_told() -> None:
    process = _process(BrokerConfig(SLUG, "demo", supervise=SupervisePlan()))
    assert process.stdin is not None and process.stdout is not None
    for line in (b"[]", b"{", b'{"op": "applied"}', b'{"op": "applied", "id": "x"}', b'{"no": 1}'):
        process.stdin.write(line + b"\n")
    process.stdin.write(b'{"op": "stop"}\n')
    process.stdin.flush()
    events = [json.loads(line)["event"] for line in process.stdout]
    assert events.count("error") == 5
    assert events[-1] == "broker-stopped"
    assert process.wait(60) == 0


def test_two_writers_of_one_audit_log_rotate_it_once() -> None:
    writers = [AuditLog(SLUG, rotate_bytes=1000) for _ in range(2)]
    for number in range(30):
        writers[number % 2].append([{"event": "x", "number": number, "padding": "." * 80}])
    for writer in writers:
        writer.close()
    assert [event["number"] for event in read_slug(SLUG)] == [*range(30)]


def _process(config: BrokerConfig, *options: str, fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "bb_jupyter.broker", *OPTIONS, *options]
    pipe: Any = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, pass_fds=fds, env=dict(os.environ))
    assert process.stdin is not None
    process.stdin.write(json.dumps(config.to_json()).encode() + b"\n")
    process.stdin.flush()
    return process


def _get(listening: socket.socket, path: str) -> bytes:
    with socket.create_connection(listening.getsockname(), timeout=60) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: supervise\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return answer
