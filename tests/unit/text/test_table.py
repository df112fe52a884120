"""Tables: aligned as text, escaped as HTML, whatever the cells hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from bb_jupyter.text.table import Markup, html_table, text_table

_CELLS = st.lists(st.tuples(st.text(), st.text()), min_size=1)


def test_columns_are_aligned_on_a_terminal() -> None:
    assert text_table([("漢字", "x"), ("abcde", "y")], ("name", "")) == "name\n漢字   x\nabcde  y"


def test_lines_are_indented() -> None:
    assert text_table([("a", "b"), ("long", "c")], indent="  ") == "  a     b\n  long  c"


@given(_CELLS)
def test_a_row_is_one_line_whatever_it_holds(rows: list[tuple[str, str]]) -> None:
    lines = text_table([(one, "|") for one, _ in rows]).split("\n")
    assert len(lines) == len(rows)
    assert len({wcswidth(line) for line in lines} - {-1}) <= 1


@given(_CELLS)
def test_cells_are_escaped(rows: list[tuple[str, str]]) -> None:
    markup = html_table(rows, ("<b>", "&"), caption="<i>")
    assert markup.count("<") == 2 * (1 + 1 + 1 + 1 + 1 + 2 + len(rows) * 3)


def test_markup_is_not_escaped() -> None:
    row = '<tr><th style="text-align:left">a&amp;</th><td style="text-align:left"><b>b</b></td></tr>'
    assert html_table([("a&", Markup("<b>b</b>"))], labels=True) == f"<table><tbody>{row}</tbody></table>"
