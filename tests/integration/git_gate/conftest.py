"""A git gate under uvicorn in a thread, with a real queue, in front of real upstreams."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from bb_jupyter.approvals import LivenessLock, Proposal, Queue, pending
from bb_jupyter.broker.broker_config import GitGateConfig, GitRepoConfig
from bb_jupyter.broker.effect_context import BrokerContext
from bb_jupyter.broker.git_gate import app
from bb_jupyter.broker.proposals import ProposalService
from tests.integration.git_gate.upstreams import CLEAN, TOKEN, TOKEN_REF, Https, Sshd, Upstream, bare, git, trust

SLUG = "gated-1a2b3c4d"


class Broker:
    """What the gate needs of a broker."""

    def __init__(self, slug: str) -> None:
        self.slug, self.name = slug, slug.rpartition("-")[0]
        self.queue = Queue(slug, self.name)
        self.events: list[dict[str, Any]] = []

    async def applied(self, number: int) -> dict[str, Any]:
        raise NotImplementedError

    def emit(self, event: str, **fields: object) -> None:
        self.events.append({"event": event, **fields})


class Gate:
    """One running gate.

    Args:
        repos: what it serves.
        secrets: what no push may carry.
        alive: whether a broker is to be found alive.
    """

    def __init__(self, *repos: GitRepoConfig, secrets: tuple[str, ...] = (), slug: str = SLUG) -> None:
        self.broker, self.slug = Broker(slug), slug
        self._presence = LivenessLock(slug)
        self.app = app(GitGateConfig(repos, secrets), self.broker)
        self._proposals = ProposalService(self.broker, BrokerContext(self.broker, repos))
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._sock.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(self.app, log_level="error", http="h11", lifespan="on"))
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        assert self._started.wait(30)

    async def _run(self) -> None:
        serving = asyncio.create_task(self._server.serve(sockets=[self._sock]))
        while not self._server.started and not serving.done():
            await asyncio.sleep(0.01)
        proposals = asyncio.create_task(self._proposals.run())
        self._started.set()
        await serving
        proposals.cancel()

    def pending(self) -> list[Proposal]:
        return pending(self.slug)

    def close(self) -> None:
        """End it, as when the bottle's broker ends; held pushes stay."""
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "a request goes on although its client has gone"
        self._presence.close()


class Clone:
    """A working copy as an agent has one."""

    def __init__(self, folder: Path, url: str) -> None:
        git(folder.parent, "clone", "-q", url, str(folder))
        self.folder = folder

    def git(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run git, which may fail; `stderr` has what the gate says."""
        return subprocess.run(
            ["git", *arguments], cwd=self.folder, env=CLEAN, capture_output=True, text=True, timeout=120
        )

    def push(self, *arguments: str) -> str:
        """Push, and return what was said; held is no failure."""
        done = self.git("push", *arguments)
        assert done.returncode == 0, done.stderr
        assert "Held for review" in done.stderr, done.stderr
        return done.stderr

    def refused(self, *arguments: str) -> str:
        """Push what must be refused, and return what was said."""
        done = self.git("push", *arguments)
        assert done.returncode == 1, done.stderr
        assert "remote: REFUSED" in done.stderr, done.stderr
        return done.stderr


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    sshd = Sshd(tmp_path_factory.mktemp("sshd") / "d")
    yield sshd
    sshd.close()


@pytest.fixture(scope="session")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Https]:
    https = Https(tmp_path_factory.mktemp("https"))
    yield https
    https.close()


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    path = bare(tmp_path)
    return Upstream(path, str(path))


@pytest.fixture(params=["path", "ssh", "https"])
def any_upstream(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    return make_upstream(request.param, request, tmp_path, monkeypatch)


def make_upstream(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Upstream:
    """Make an upstream of one kind of transport."""
    if kind == "ssh":
        sshd: Sshd = request.getfixturevalue("sshd")
        path = bare(tmp_path)
        return Upstream(path, sshd.url(path), {"identity": str(sshd.identity), "host_key": sshd.host_key})
    if kind == "https":
        https: Https = request.getfixturevalue("https")
        trust(monkeypatch, https)
        path = bare(https.ca_file.parent, f"{tmp_path.name}.git")
        git(path, "config", "http.receivepack", "true")
        return Upstream(path, https.url(path), {"username": "robot", "token_ref": TOKEN_REF})
    path = bare(tmp_path)
    return Upstream(path, str(path))


def config(upstream: Upstream, alias: str = "widgets", **keys: Any) -> GitRepoConfig:
    """Return how the gate is told of an upstream."""
    repo = GitRepoConfig(alias, upstream.url, **upstream.keys)
    return dataclasses.replace(repo, **{"token": TOKEN if repo.token_ref else "", **keys})


@pytest.fixture
def gates(home: Path) -> Iterator[Callable[..., Gate]]:
    with ExitStack() as stack:

        def start(*repos: GitRepoConfig, **options: Any) -> Gate:
            gate = Gate(*repos, **options)
            stack.callback(gate.close)
            return gate

        yield start


@pytest.fixture
def gate(gates: Callable[..., Gate], upstream: Upstream) -> Gate:
    return gates(config(upstream))


@pytest.fixture
def clone(gate: Gate, tmp_path: Path) -> Clone:
    return Clone(tmp_path / "clone", f"{gate.url}/widgets.git")
