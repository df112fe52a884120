"""`bb-jupyter` in a terminal."""

from __future__ import annotations

import pytest

from bb_jupyter.__main__ import main


@pytest.fixture(autouse=True)
def _embedded_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_BOTTLE_BACKEND", "bubblewrap")


def test_without_arguments_it_lists_what_works_in_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert "bb-jupyter ls" in shown and "attach" not in shown and "bb-jupyter cp" not in shown


def test_help_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cleanup", "--help"]) == 0
    assert "--dry-run" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["nosuch"], ["stop", "nosuch"], ["ls", "--nosuch"], ["attach", "x"]])
def test_mistakes_end_with_1_and_a_short_message(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("bb-jupyter: ") and len(told.err.splitlines()) <= 2
