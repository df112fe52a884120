"""Bottles with a policy worth attacking: one of each backend for a whole module, in front of a server of the test's."""

from __future__ import annotations

import json
import secrets
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bb_jupyter import manifest
from bb_jupyter.backend.execution import Completed, Execution
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.selftest import Canary, Probe
from tests.attack.service import Service
from tests.contract.conftest import launch, session  # noqa: F401 - the fixtures of single tests
from tests.leftovers import Engine

TOKEN_REF = "BB_ATTACK_TOKEN"
#: With characters that URLs, JSON and HTML write differently.
TOKEN = "sk-attack/" + secrets.token_hex(12) + "+=&"


def yaml_of(*routes: dict[str, object]) -> str:
    """Return a manifest with these routes (JSON is YAML)."""
    return json.dumps({"egress": {"routes": routes}})


@pytest.fixture(
    params=[
        pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
        pytest.param("docker", marks=pytest.mark.docker),
    ],
)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A backend with a gateway of ours; what the smol cloud filters is tested in tests/smolmachines."""
    if request.param == "docker":
        monkeypatch.setenv("BOT_BOTTLE_BASE_IMAGE", request.getfixturevalue("engine").base_image)
    return str(request.param)


def address_for(backend: str, request: pytest.FixtureRequest) -> str:
    """Return an address of this host at which the gateways of a backend reach it."""
    if backend == "podman":  # its bridge exists only while a container is on it
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("198.51.100.1", 9))  # sends nothing: only chooses this host's own address
            return str(probe.getsockname()[0])
    if backend != "docker":
        return "127.0.0.1"
    engine: Engine = request.getfixturevalue("engine")
    with engine.client() as client:
        config = client.networks.get("bridge").attrs["IPAM"]["Config"][0]
    return str(config.get("Gateway") or config["Subnet"].rpartition(".")[0] + ".1")


@pytest.fixture
def service(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    server = Service(address_for(backend, request), tmp_path)
    yield server
    server.close()


def first_output(execution: Execution) -> bytes:
    """Wait for the first bytes of a command that runs on."""
    while not (data := b"".join(chunk.data for chunk in execution.poll(60))):
        assert execution.running
    return data


@pytest.fixture
def canary() -> Iterator[Canary]:
    with Canary() as canary:
        yield canary


@dataclass
class Walled:
    """A bottle that may reach some hosts, all of them the test's own server."""

    handle: BottleHandle
    service: Service
    canary: Canary
    backend: str

    @property
    def probe(self) -> Probe:
        return Probe(self.handle, self.canary)

    def curl(self, *arguments: str) -> Completed:
        """Run curl, which finds the proxy and the gateway's CA by the bottle's variables."""
        argv = ["curl", "-sS", "--max-time", "20", "-w", "\\n%{http_code}", *arguments]
        return self.handle.exec(argv, timeout=40).wait()

    def end_to_end(self, *arguments: str) -> Completed:
        """Run curl where the gateway only relays: the server's own certificate must be trusted."""
        return self.curl("--cacert", "service-ca.pem", *arguments)

    def python(self, program: str, *arguments: str) -> Completed:
        """Run a Python program in the bottle."""
        return self.handle.exec(["python3", "-", *arguments], stdin=program.encode(), timeout=60).wait()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
        pytest.param("docker", marks=pytest.mark.docker),
    ],
)
def walled(request: pytest.FixtureRequest) -> Iterator[Walled]:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="bb-") as folder, Canary() as canary:
        patch.setenv("BOT_BOTTLE_HOME", folder)
        patch.setenv(TOKEN_REF, TOKEN)
        if request.param == "docker":
            patch.setenv("BOT_BOTTLE_BASE_IMAGE", request.getfixturevalue("engine").base_image)
        service = Service(address_for(request.param, request), Path(folder))
        name = f"walled{secrets.token_hex(3)}"
        manifest.define_bottle(name, yaml_of(*_routes(service, canary.port)))
        session = Session()
        try:
            handle = session.launch(name, LaunchOptions(backend=request.param, bottle=name))
            handle.cp_in(service.ca_file, "service-ca.pem")
            yield Walled(handle, service, canary, request.param)
        finally:
            session.stop_all()
            service.close()


def _routes(service: Service, canary_port: int) -> Iterator[dict[str, object]]:
    bearer = {"scheme": "bearer", "token_ref": TOKEN_REF}
    yield service.route("ok.test")
    yield service.route("*.wild.test")
    yield service.route("read.test", methods=["GET", "HEAD"])
    yield service.route("paths.test", paths=["/api"])
    yield service.route("post.test", methods=["GET", "HEAD", "POST"])
    yield service.route("plain.test", scheme="http")
    yield service.route("secret.test", auth=bearer)
    yield service.route("key.test", auth={"scheme": "header", "header": "X-Api-Key", "token_ref": TOKEN_REF})
    yield {"host": "localhost"}
    yield {"host": "localhost", "port": canary_port}
    yield {"host": "localhost", "port": canary_port, "scheme": "http"}
