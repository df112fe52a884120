"""Text from a bottle is shown as what it is."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bb_jupyter.text.visible import Visible, block, last_line, one_line, quoted, visible

#: What is given, and what `one_line` and `block` return: the page passes the same (labextension/test/dom.test.mjs).
CASES = json.loads(Path(__file__).with_name("visible.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("plain äöü € 漢字 🐟\t\n", "plain äöü € 漢字 🐟\t\n"),
        ("10%\r20%\r", "10%\r20%\r"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[38;5;8mgrey\x1b[m", "\x1b[38;5;8mgrey\x1b[m"),
        ("\x1b[38;2;8;8;8mgrey\x1b[m", "\x1b[38;2;8;8;8mgrey\x1b[m"),
        ("\x1b[8mhidden", "␛[8mhidden"),
        ("\x1b[1;08mhidden", "␛[1;08mhidden"),
        ("\x1b[31mleft on", "\x1b[31mleft on\x1b[0m"),
        ("\r\x1b[Knext", "\rnext"),
        ("\r\x1b[2Knext", "\rnext"),
        ("\x1b[1G\x1b[0Knext", "\rnext"),
        ("\x1b[2J\x1b[H", "␛[2J␛[H"),
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "␛]8;;http://evil␛\\link␛]8;;␛\\"),
        ("\x9b31m\x85", "<U+009B>31m<U+0085>"),
        ("a\x00b\x08c\x7fd\x0be\x0cf", "a␀b␈c␡d␋e␌f"),
        ("ab\u202ecd\u2066", "ab<U+202E>cd<U+2066>"),
        ("a\u200bb\ufeffc\u2060d\u00ade", "a<U+200B>b<U+FEFF>c<U+2060>d<U+00AD>e"),
        ("tag \U000e0041", "tag <U+E0041>"),
        ("👩\u200d💻 a\u200db", "👩\u200d💻 a<U+200D>b"),
        ("❤\ufe0f\u200d🔥", "❤\ufe0f\u200d🔥"),
        ("name\udcff", "name<0xFF>"),
        ("half a sequence \x1b[3", "half a sequence ␛[3"),
        ("", ""),
    ],
)
def test_shown(given_text: str, shown: str) -> None:
    assert visible(given_text) == shown


@given(st.text(), st.lists(st.integers(0, 100)))
def test_pieces_are_shown_as_the_whole(text: str, cuts: list[int]) -> None:
    stream = Visible()
    ends = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [stream.feed(text[start:end]) for start, end in pairwise(ends)]
    assert "".join(pieces) + stream.finish() == visible(text)


@given(
    st.lists(st.sampled_from(["\x1b", "[", "3", "1", ";", "8", "m", "K", "\r", "\u200d", "👩", "\x9b", "x", "\u202e"]))
)
def test_nothing_but_colours_is_obeyed(parts: list[str]) -> None:
    stream = Visible()
    shown = "".join(map(stream.feed, parts)) + stream.finish()
    assert shown == visible("".join(parts))
    for rest in shown.split("\x1b")[1:]:
        assert rest[0] == "[" and rest[1:].lstrip("0123456789;:")[:1] == "m"
    assert not set(shown) & {"\x9b", "\u202e"}


def test_unfinished_sequences_are_not_held_for_ever() -> None:
    stream = Visible()
    assert stream.feed("\x1b[" + "1" * 1000) != ""


@pytest.mark.parametrize(("text", "line", "lines"), CASES)
def test_a_line_and_a_block(text: str, line: str, lines: str) -> None:
    assert (one_line(text), block(text)) == (line, lines)


@given(st.text())
def test_whatever_is_shown_is_clean(text: str) -> None:
    assert one_line(one_line(text)) == one_line(text)
    assert "\n".join(map(one_line, block(text).split("\n"))) == block(text)


@pytest.mark.parametrize(("text", "line"), [("abc", "abc"), ("abcd", "ab…"), ("\n\x1b\u202e", "␊␛…")])
def test_a_line_is_cut(text: str, line: str) -> None:
    assert one_line(text, 3) == line


@pytest.mark.parametrize(("value", "shown"), [("a\u3164", "'a<U+3164>'"), (["\x1b"], "['\\x1b']"), (None, "None")])
def test_a_value_is_quoted(value: object, shown: str) -> None:
    assert quoted(value) == shown


@pytest.mark.parametrize(("output", "shown"), [(b"a\nb \x1b\xff\n\n", "b ␛\ufffd"), (b" \n", "it gave no reason")])
def test_the_last_line_says_why(output: bytes, shown: str) -> None:
    assert last_line(output) == shown
