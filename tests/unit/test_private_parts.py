"""Private parts of other projects that ours uses: one test a part, which names what broke when a new version lacks it.

pyproject.toml allows the versions only that these tests have passed with.
"""

from __future__ import annotations

import inspect
import socket
import tarfile
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import uvicorn
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.web_protocol import RequestHandler

_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def _parameters(function: object) -> list[str]:
    return [*inspect.signature(function).parameters]  # type: ignore[arg-type]


@pytest.mark.parametrize("project", ["aiohttp", "docker", "uvicorn"])
def test_what_is_used_privately_has_an_upper_bound(project: str) -> None:
    dependencies = tomllib.loads(_PYPROJECT.read_text())["project"]["dependencies"]
    (wanted,) = (line for line in dependencies if line.startswith((f"{project}>", f"{project}<")))
    assert "<" in wanted, wanted


def test_aiohttps_server_makes_a_request_of_five_arguments() -> None:
    made = _parameters(web.Server._make_request)
    assert made == ["self", "message", "payload", "protocol", "writer", "task"]
    assert "request_factory" in _parameters(web.Server.__init__)


def test_aiohttps_request_handler_takes_a_parser_for_a_hijacked_connection() -> None:
    assert _parameters(RequestHandler.set_parser)[:2] == ["self", "parser"]


def test_aiohttps_request_handler_is_told_by_connection_lost() -> None:
    assert issubclass(RequestHandler, BaseProtocol)
    assert _parameters(RequestHandler.connection_lost) == ["self", "exc"]


def test_docker_pys_client_builds_urls() -> None:
    assert _parameters(docker.APIClient._url)[:2] == ["self", "pathfmt"]
    client = docker.APIClient("tcp://192.0.2.1:1", version="1.41")
    assert client._url("/containers/{0}/update", "a b") == "http://192.0.2.1:1/v1.41/containers/a%20b/update"


@pytest.mark.parametrize("name", ["_result", "_post_json", "_raise_for_status"])
def test_docker_pys_client_has(name: str) -> None:
    assert callable(getattr(docker.APIClient, name))


@pytest.fixture
def upgrading() -> Iterator[str]:
    """An engine that turns each connection into a stream and sends some of it together with the header."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly")
                connection.recv(1)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_docker_pys_stream_gives_its_response_and_the_buffer_that_swallowed_early_output(upgrading: str) -> None:
    client = docker.APIClient(upgrading, version="1.41", timeout=10)
    raw = client.attach_socket("x", params={"stream": 1})
    try:
        assert raw._response.raw._fp.fp.peek()[:5] == b"early"
        assert isinstance(getattr(raw, "_sock", raw), socket.socket)
    finally:
        raw._response.close()


def test_tarfile_reads_extended_headers_by_proc_member() -> None:
    assert _parameters(tarfile.TarInfo._proc_member) == ["self", "tarfile"]  # type: ignore[attr-defined]


def test_uvicorns_server_can_be_started_without_sockets_and_signals() -> None:
    assert _parameters(uvicorn.Server.startup) == ["self", "sockets"]
    assert _parameters(uvicorn.Server.capture_signals) == ["self"]


def test_uvicorns_protocol_is_made_from_config_and_states() -> None:
    config = uvicorn.Config(lambda *_: None, http="h11")
    config.load()
    assert {"config", "server_state", "app_state"} <= {*_parameters(config.http_protocol_class)}
    assert hasattr(uvicorn.Server(config).server_state, "connections")
