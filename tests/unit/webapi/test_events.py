"""The words of agents' events: the same for the notebook's text as for the page (labextension/test/events.test.mjs)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bb_jupyter.webapi.event_text import words

_LINES = json.loads(Path(__file__).parents[3].joinpath("labextension/test/events.json").read_text("utf-8"))


@pytest.mark.parametrize("line", _LINES)
def test_a_line_shows_its_words(line: str) -> None:
    assert words(line) == _LINES[line]
