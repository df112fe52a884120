"""The promises of a provider, on the built-in ones and on one of a user's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bb_jupyter.agent import AgentCommand, AgentProvider, get_provider
from bb_jupyter.testing import PROVIDER_CHECKS, check_provider

OWN = '''
"""A provider of a user's own."""
from bb_jupyter.agent import AgentCommand, AgentProvider


class Parrot(AgentProvider):
    title = "Parrot"

    def command(self, prompt, *, resume=""):
        return AgentCommand(("cat",), prompt.encode(), {"SESSION": resume})
'''


@pytest.fixture
def parrot(home: Path) -> Path:
    folder = home / "contrib" / "parrot"
    folder.mkdir(parents=True)
    (folder / "agent_provider.py").write_text(OWN)
    (folder / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n")
    return folder


@pytest.mark.parametrize("check", PROVIDER_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", ["claude", "codex", "shell", "parrot"])
def test_a_provider_keeps_its_promises(name: str, check: Callable[[AgentProvider], None], parrot: Path) -> None:
    check(get_provider(name))


class _Broken(AgentProvider):
    """Breaks one promise after the other."""

    name = "broken"

    def command(self, prompt: str, *, resume: str = "") -> AgentCommand:
        return AgentCommand(("agent", prompt), b"")


def test_a_broken_promise_is_named() -> None:
    with pytest.raises(AssertionError, match="broken: takes_any_prompt: an argument of 200000 characters: use stdin"):
        check_provider(_Broken())
