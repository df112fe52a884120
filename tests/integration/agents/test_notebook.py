"""`notebooks/claude.ipynb`, executed in front of the scripted model."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.integration.agents.conftest import SECRET, Launch
from tests.integration.agents.endpoint import ModelEndpoint

_NOTEBOOK = Path(__file__).parents[3] / "notebooks" / "claude.ipynb"


@pytest.mark.parametrize("agent", ["claude"], indirect=True)
def test_the_notebook_of_claude(
    launch: Launch, backend: str, endpoint: ModelEndpoint, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`launch` has written the bottle that leads to the endpoint; the agent called claude is made one of it."""
    (home / "agents").mkdir()
    (home / "agents" / "claude.md").write_text("---\nprovider: claude\nbottle: model\n---\n")
    endpoint.commands = ["echo Hello from a bottle > hello.txt"]
    monkeypatch.setenv("BOT_BOTTLE_BACKEND", backend)
    notebook = nbformat.read(_NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(home)}}).execute()
    text = nbformat.writes(notebook)
    assert "('hello.txt',)" in text and "Hello from a bottle" in text and "All **done**" in text
    assert "placeholder-replaced-by-the-gateway" in text and SECRET not in text
