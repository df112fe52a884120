"""Providers of the user's own: found in the home only, a broken one told with file, line and reason."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bb_jupyter.agent import get_provider, list_providers
from bb_jupyter.errors import ManifestError, UsageError

GOOD = """
from bb_jupyter.agent import AgentCommand, AgentProvider

class Mine(AgentProvider):
    title = "TITLE"
    def command(self, prompt, *, resume=""):
        return AgentCommand(("cat",), prompt.encode())
"""


def write(home: Path, name: str, text: str) -> Path:
    file = home / "contrib" / name / "agent_provider.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_built_in_ones_are_there() -> None:
    assert [entry.name for entry in list_providers()] == ["claude", "codex", "shell"]
    assert {entry.origin for entry in list_providers()} == {"built-in"}
    assert get_provider("claude").title == "Claude Code"


def test_ones_own_is_found_and_read_again_when_it_changes(home: Path) -> None:
    write(home, "mine", GOOD.replace("TITLE", "one"))
    assert get_provider("mine").title == "one" and get_provider("mine").name == "mine"
    write(home, "mine", GOOD.replace("TITLE", "three"))
    assert get_provider("mine").title == "three"


def test_only_the_users_home_is_looked_at(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / ".bot-bottle", "mine", GOOD)
    write(tmp_path, "mine", GOOD)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no agent provider is called 'mine'"):
        get_provider("mine")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("x = 1\nimport not_there_at_all\n", 2, "No module named 'not_there_at_all'"),
        ("def f(:\n", 1, "SyntaxError"),
        ("\n\nraise SystemExit(3)\n", 3, "SystemExit: 3"),
        ("def f():\n    return 1 / 0\nf()\n", 2, "division by zero"),
        ("x = 1\n", None, "no class subclasses AgentProvider"),
        (GOOD + GOOD.replace("Mine", "Other"), None, "several classes subclass AgentProvider"),
        (GOOD.replace("def command", "def comand"), 4, "class Mine lacks command()"),
        ("x = '\0'\n", None, "null byte"),
    ],
)
def test_a_broken_one_is_told_with_file_line_and_reason_and_holds_no_other_up(
    home: Path, text: str, line: int | None, reason: str
) -> None:
    file = write(home, "broken", text)
    write(home, "mine", GOOD)
    with pytest.raises(ManifestError) as caught:
        get_provider("broken")
    assert reason in str(caught.value).replace("nulls", "null bytes") and str(file) in str(caught.value)
    assert line is None or f"{file}:{line}: " in str(caught.value)
    assert get_provider("mine").title == "TITLE"
    assert {entry.name: entry.error is None for entry in list_providers()}["broken"] is False
    assert len(list_providers()) == 5


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "Mine", "mine\n", "x" * 50])
def test_names_that_are_none(home: Path, name: str) -> None:
    write(home, "x", GOOD)
    with pytest.raises(UsageError, match="no agent provider"):
        get_provider(name)


def test_a_near_name_is_offered() -> None:
    with pytest.raises(UsageError, match="Did you mean 'claude'"):
        get_provider("cluade")


def test_nothing_is_written_beside_a_users_file(home: Path) -> None:
    file = write(home, "mine", GOOD)
    get_provider("mine")
    assert [entry.name for entry in file.parent.iterdir()] == ["agent_provider.py"]
    assert "bb_jupyter_contrib_mine" in sys.modules
