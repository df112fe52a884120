"""A bottle for each real agent, whose model is the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bb_jupyter.session import HeldBottle, LaunchOptions, Session
from tests.agents import cli
from tests.agents.endpoint import ModelEndpoint

#: What the gateway puts into requests, and what nothing in a bottle may hold.
SECRET = "sk-scripted-0123456789abcdef"
_ROUTES = {
    "claude": "host: api.anthropic.com, auth: {scheme: header, header: x-api-key, token_ref: MODEL_KEY}",
    "claude-oauth": "host: api.anthropic.com, auth: {scheme: bearer, token_ref: MODEL_KEY}",
    "codex": "host: api.openai.com, auth: {scheme: bearer, token_ref: MODEL_KEY}",
}
_BOTTLE = """\
---
agent_provider: {{template: {agent}}}
env: {{CLAUDE_CODE_MAX_RETRIES: "1"}}
egress:
  routes:
    - {{{route}, resolve: "127.0.0.1:{port}", ca: {ca}}}
---
"""

Launch = Callable[..., HeldBottle]


@pytest.fixture
def endpoint() -> Iterator[ModelEndpoint]:
    model = ModelEndpoint()
    yield model
    model.close()


@pytest.fixture(params=["claude", "codex"])
def agent(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[pytest.param("bubblewrap", marks=pytest.mark.bubblewrap)])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PATH", f"{cli.installed()}:{os.environ['PATH']}")
    return str(request.param)


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
    monkeypatch: pytest.MonkeyPatch,
) -> Launch:
    """Launch a bottle of *agent* whose requests to its service come to *endpoint*, with the secret."""
    monkeypatch.setenv("MODEL_KEY", SECRET.replace("sk-", "sk-ant-oat01-") if agent.endswith("oauth") else SECRET)
    ca = home / "model.pem"
    ca.write_text(endpoint.ca_pem)
    (home / "bottles").mkdir()
    agent_name = agent.partition("-")[0]
    text = _BOTTLE.format(agent=agent_name, route=_ROUTES[agent], port=endpoint.port, ca=ca)
    (home / "bottles" / "model.md").write_text(text)

    def start(**options: object) -> HeldBottle:
        given = {"agent": agent_name, "bottle": "model", "backend": backend, **options}
        return session.launch(bottle_name, LaunchOptions(**given))  # type: ignore[arg-type]

    return start


@pytest.fixture
def bottle(launch: Launch) -> HeldBottle:
    return launch()
