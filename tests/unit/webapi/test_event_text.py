"""The words of agents' events, as the page and the notebook show them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bb_jupyter.webapi.event_text import words

_LINES = json.loads(Path(__file__).with_name("event_text.json").read_text("utf-8"))


@pytest.mark.parametrize("line", _LINES)
def test_a_line_shows_its_words(line: str) -> None:
    assert words(line) == _LINES[line]
