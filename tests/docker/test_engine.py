"""Which engine, how it is reached, and what is said when it is not."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from bb_jupyter.backend.docker import endpoint
from bb_jupyter.backend.docker.backend import DockerBackend
from bb_jupyter.backend.docker.engine import DockerEngine
from bb_jupyter.errors import BackendUnavailable
from bb_jupyter.gateway.proxy.ca import LeafAuthority
from bb_jupyter.manifest import allowed_route
from tests.docker.conftest import Launch, Plan, out
from tests.leftovers import Engine


@pytest.fixture
def over_tcp(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Reach the engine by a port of loopback."""
    path = engine.address.removeprefix("unix://")
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_serve, args=(server, path), daemon=True).start()
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("DOCKER_HOST", url)
        yield url
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def over_tls(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """Reach the engine as an engine elsewhere is reached: TLS, with a CA and a certificate of one's own."""
    authority = LeafAuthority("engine")
    (tmp_path / "ca.pem").write_text(authority.cert_pem)
    own = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=me",
    ]
    subprocess.run([*own, "-keyout", "key.pem", "-out", "cert.pem"], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))  # as where a proxy has a CA: not the engine's
    with socket.create_server(("127.0.0.1", 0)) as server:
        path, context = engine.address.removeprefix("unix://"), authority.context("localhost")
        threading.Thread(target=_serve, args=(server, path, context), daemon=True).start()
        url = f"tcp://localhost:{server.getsockname()[1]}"
        monkeypatch.setenv("DOCKER_HOST", url)
        yield url
        server.shutdown(socket.SHUT_RDWR)


def test_a_bottle_works_over_tcp(over_tcp: str, launch: Launch, backend: DockerBackend, tmp_path: Path) -> None:
    bottle = launch()
    assert bottle.exec(["cat"], stdin=b"x" * 1_000_000).wait().stdout == b"x" * 1_000_000
    (tmp_path / "file").write_text("42")
    bottle.cp_in(tmp_path / "file", "copied")
    bottle.cp_out("copied", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "42"
    execution = bottle.exec(["sleep", "100"])
    execution.kill()
    assert execution.wait().killed
    assert any(over_tcp in check.detail for check in backend.diagnose())


def test_a_bottle_works_over_tls(over_tls: str, launch: Launch, backend: DockerBackend) -> None:
    bottle = launch(routes=(allowed_route("ok.test"),))
    assert out(bottle, "head -c 3000000 /dev/zero | wc -c").strip() == "3000000"
    assert "no-route" in out(bottle, "curl -sS --max-time 20 -i http://other.test/")
    assert any(over_tls in check.detail for check in backend.diagnose())


def test_a_certificate_that_is_not_trusted_is_said(over_tls: str, prepare: Plan, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(LeafAuthority("another").cert_pem)
    with pytest.raises(BackendUnavailable, match=r"no secure connection to tcp://.*VERIFY_FAILED\n.*DOCKER_CERT_PATH"):
        prepare()


def test_every_check_of_a_good_engine_passes(backend: DockerBackend) -> None:
    assert backend.is_available()
    assert {check.verdict for check in backend.diagnose()} == {"ok"}


def test_an_engine_that_is_down_is_said(
    backend: DockerBackend, prepare: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    with pytest.raises(BackendUnavailable, match=r"nothing answers at unix://.*\(DOCKER_HOST\)\n.*systemctl start"):
        prepare()
    (check,) = backend.diagnose()
    assert check.verdict == "failed" and "systemctl start docker" in check.fix


def test_an_engine_that_goes_down_is_said(
    backend: DockerBackend, prepare: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    DockerEngine.at(endpoint.find()).client.close()  # its connections: the next request makes a new one
    monkeypatch.setattr("docker.transport.unixconn.UnixHTTPConnection.connect", refuse)
    with pytest.raises(BackendUnavailable, match="nothing answers"):
        backend.enumerate_active()


def test_a_socket_that_is_not_permitted_is_said(prepare: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/closed.sock")
    monkeypatch.setattr("docker.transport.unixconn.UnixHTTPConnection.connect", refuse)
    with pytest.raises(BackendUnavailable, match=r"this user may not use .*\n.*usermod -aG docker"):
        prepare()


def test_a_full_disk_is_said() -> None:
    refused = docker.errors.APIError("x", _Answer(), "write /var/lib/x: no space left on device")
    error = DockerEngine.at(endpoint.find()).explain(refused, "create a bottle")
    assert "disk is full" in error.message and "docker system prune" in error.hint


def test_what_is_no_address_is_said(prepare: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "garbage")
    with pytest.raises(BackendUnavailable, match=r"DOCKER_HOST is no address: 'garbage'\n.*tcp://HOST:PORT"):
        prepare()


def test_an_engine_over_ssh_needs_a_tunnel(prepare: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://user@example.org")
    with pytest.raises(BackendUnavailable, match=r"ssh -nNT -L .* user@example.org"):
        prepare()


def test_a_context_names_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: Engine) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST")
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "mine"}))
    folder = Path(docker.context.config.get_meta_dir("mine"))
    folder.mkdir(parents=True)
    endpoints = {"docker": {"Host": engine.address, "SkipTLSVerify": False}}
    (folder / "meta.json").write_text(json.dumps({"Name": "mine", "Metadata": {}, "Endpoints": endpoints}))
    assert endpoint.find().url == engine.address
    monkeypatch.setenv("DOCKER_CONTEXT", "other")
    with pytest.raises(BackendUnavailable, match="no Docker context 'other'"):
        endpoint.find()


def test_no_engine_at_all_is_no_backend(
    backend: DockerBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DOCKER_HOST")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(endpoint, "_usual_socket", lambda: tmp_path / "no.sock")
    assert not backend.is_available()


class _Answer:
    status_code = 500
    url = reason = ""


def _serve(server: socket.socket, path: str, context: ssl.SSLContext | None = None) -> None:
    while True:
        try:
            near, _ = server.accept()
        except OSError:
            return
        far = socket.socket(socket.AF_UNIX)
        far.connect(path)
        if context:
            threading.Thread(target=_secured, args=(near, far, context), daemon=True).start()
            continue
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _secured(near: socket.socket, far: socket.socket, context: ssl.SSLContext) -> None:
    """Pass both ways until the engine ends, in one thread: TLS is not to be read and written at once."""
    with contextlib.suppress(OSError), context.wrap_socket(near, server_side=True) as secure, far:
        sources: list[socket.socket] = [secure, far]
        while far in sources:
            for source in select.select(sources, [], [])[0]:
                if data := source.recv(1 << 16):
                    (far if source is secure else secure).sendall(data)
                else:
                    sources.remove(source)
                    far.shutdown(socket.SHUT_WR)  # who sends no more may still read
