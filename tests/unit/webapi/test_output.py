"""Pieces of a log, as a page asks for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bb_jupyter.core import logs
from bb_jupyter.errors import UsageError
from bb_jupyter.webapi import output

_SLUG = "demo-0a1b2c3d"


def write(data: bytes) -> None:
    log = logs.new_log(_SLUG)
    log.write(data)
    log.close()


def test_a_bottle_without_output() -> None:
    assert output.read(_SLUG)["text"] == ""
    assert output.last_line(_SLUG) == ""


def test_the_latest_run_from_the_start_and_an_earlier_one() -> None:
    write(b"one\n")
    write(b"two\n")
    assert (output.read(_SLUG)["text"], output.read(_SLUG)["run"]) == ("two\n", 2)
    assert output.read(_SLUG, run=1)["text"] == "one\n"
    with pytest.raises(UsageError):
        output.read(_SLUG, run=3)


def test_the_end_of_a_long_log_begins_with_a_whole_line() -> None:
    write(b"".join(b"line %06d\n" % number for number in range(20_000)))
    piece = output.read(_SLUG)
    assert piece["text"].startswith("line ") and piece["text"].endswith("line 019999\n")
    assert piece["offset"] > 0 and piece["next"] == piece["size"]


@given(text=st.text(st.characters(blacklist_categories=["Cs"]), max_size=40), data=st.data())
def test_a_log_that_grows_is_read_whole_however_it_is_cut(text: str, data: st.DataObject) -> None:
    whole, slug = text.encode(), f"grows-{data.draw(st.integers(0, 2**32 - 1)):08x}"
    log, read, at, written = logs.new_log(slug), "", 0, 0
    while written < len(whole):
        step = data.draw(st.integers(1, 7))
        log.write(whole[written : written + step])
        written += step
        piece = output.read(slug, offset=at)
        read, at = read + piece["text"], piece["next"]
    log.close()
    assert read == text


def test_what_is_no_text_does_not_hold_the_reader() -> None:
    write(b"a\xff\xfe\xe2\x82")
    piece = output.read(_SLUG, offset=0)
    assert piece["text"] == "a\ufffd\ufffd" and piece["size"] - piece["next"] == 2
    assert output.last_line(_SLUG).startswith("a")


def test_the_last_line_is_the_last_that_is_not_blank() -> None:
    write(b"first\nprogress 1\rprogress 2\n \n\n")
    assert output.last_line(_SLUG) == "progress 2"


def test_an_agents_log_is_read_as_words() -> None:
    first, second = b'{"type": "a", "text": "one"}\n', b'{"type": "b", "text": "two and more"}\n'
    write(b"starting\n" + first + second[:-6])
    piece = output.read(_SLUG, offset=0, events=True)
    assert (piece["text"], piece["partial"]) == ("starting\none\n", "two and m")
    assert piece["next"] == len(b"starting\n" + first)
    assert output.last_line(_SLUG, events=True) == "two and m"


def test_a_line_of_an_agent_that_is_longer_than_a_piece_does_not_hold_the_reader() -> None:
    write(b"x" * (output.MOST + 5))
    piece = output.read(_SLUG, offset=0, events=True)
    assert (len(piece["text"]), piece["next"]) == (output.MOST + 1, output.MOST)
