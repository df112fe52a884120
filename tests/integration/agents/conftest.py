"""A bottle for each real agent, whose model is the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bb_jupyter.agent import get_provider
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from tests.attack.conftest import address_for
from tests.integration.agents import cli
from tests.integration.agents.endpoint import ModelEndpoint

#: What the gateway puts into requests, and what nothing in a bottle may hold.
SECRET = "sk-scripted-0123456789abcdef"
_ROUTES = {
    "claude": "host: api.anthropic.com, auth: {scheme: header, header: x-api-key, token_ref: MODEL_KEY}",
    "claude-oauth": "host: api.anthropic.com, auth: {scheme: bearer, token_ref: MODEL_KEY}",
    "codex": "host: api.openai.com, auth: {scheme: bearer, token_ref: MODEL_KEY}",
}
_BOTTLE = """\
---
agent_provider: {{template: {agent}, dockerfile: "{dockerfile}"}}
env: {{CLAUDE_CODE_MAX_RETRIES: "1"}}
egress:
  routes:
    - {{{route}, resolve: "{address}:{port}", ca: {ca}}}
{more}
---
"""

Launch = Callable[..., BottleHandle]


@pytest.fixture
def endpoint(backend: str, request: pytest.FixtureRequest) -> Iterator[ModelEndpoint]:
    model = ModelEndpoint(address_for(backend, request))
    yield model
    model.close()


@pytest.fixture(params=["claude", "codex"])
def agent(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(
    params=[
        pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
        pytest.param("docker", marks=pytest.mark.docker),
    ]
)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "docker":
        monkeypatch.setenv("BOT_BOTTLE_BASE_IMAGE", request.getfixturevalue("engine").base_image)
    else:
        monkeypatch.setenv("PATH", f"{cli.installed()}:{os.environ['PATH']}")
    return str(request.param)


@pytest.fixture
def more() -> str:
    """More lines of the bottle's manifest."""
    return ""


@pytest.fixture
def session(nothing_left: None) -> Iterator[Session]:
    session = Session()
    yield session
    session.stop_all()


@pytest.fixture
def launch(
    session: Session,
    backend: str,
    agent: str,
    endpoint: ModelEndpoint,
    home: Path,
    bottle_name: str,
    more: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Launch:
    """Launch a bottle of *agent* whose requests to its service come to *endpoint*, with the secret."""
    monkeypatch.setenv("MODEL_KEY", SECRET.replace("sk-", "sk-ant-oat01-") if agent.endswith("oauth") else SECRET)
    ca = home / "model.pem"
    ca.write_text(endpoint.ca_pem)
    (home / "bottles").mkdir()
    agent_name = agent.partition("-")[0]
    dockerfile = _pinned(agent_name, home / "image") if backend == "docker" else ""
    text = _BOTTLE.format(
        agent=agent_name,
        dockerfile=dockerfile,
        route=_ROUTES[agent],
        address=endpoint.address,
        port=endpoint.port,
        ca=ca,
        more=more,
    )
    (home / "bottles" / "model.md").write_text(text)

    def start(**options: object) -> BottleHandle:
        given = {"agent": agent_name, "bottle": "model", "backend": backend, **options}
        return session.launch(bottle_name, LaunchOptions(**given))  # type: ignore[arg-type]

    return start


def _pinned(agent: str, folder: Path) -> Path:
    """Write the provider's own Dockerfile with the version that these tests know; the same text is the same image."""
    default = get_provider(agent).dockerfile
    assert default is not None
    version = next(package.rpartition("@")[2] for package in cli.PACKAGES if agent in package)
    folder.mkdir()
    (folder / "Dockerfile").write_text(default.read_text().replace("VERSION=latest", f"VERSION={version}"))
    return folder / "Dockerfile"


@pytest.fixture
def bottle(launch: Launch) -> BottleHandle:
    return launch()
