"""Tables as text and as HTML.  Cells may be hostile: each is shown on one line, and HTML is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence

from bb_jupyter.text.visible import one_line

_LEFT = 'style="text-align:left"'


class Markup(str):
    """A cell that is HTML already: its author escaped all data in it."""

    __slots__ = ()


def escaped(text: str) -> str:
    """Return *text* for HTML, on one line, with every invisible character named."""
    return html.escape(one_line(text))


def text_table(rows: Sequence[Sequence[str]], head: Sequence[str] = (), *, indent: str = "") -> str:
    """Return a table as text, its columns aligned on a terminal.

    Args:
        rows: cells; every row has as many.
        head: titles of the columns; empty for none.
        indent: what each line begins with.
    """
    lines = [[one_line(cell) for cell in row] for row in ([head] if head else []) + list(rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    padded = ("  ".join(map(_padded, line, widths)) for line in lines)
    return "\n".join(f"{indent}{line}".rstrip() for line in padded)


def html_table(
    rows: Sequence[Sequence[str]], head: Sequence[str] = (), *, labels: bool = False, caption: str = ""
) -> str:
    """Return a table as HTML.

    Args:
        rows: cells; one that is `Markup` is not escaped.
        head: titles of the columns; empty for none.
        labels: whether the first cell of each row is its title.
        caption: title of the table; empty for none.
    """
    parts = [f"<caption>{_cell(caption)}</caption>"] if caption else []
    parts += [f"<thead>{_row(head, 'th', 'th')}</thead>"] if head else []
    body = "".join(_row(row, "th" if labels else "td", "td") for row in rows)
    return f"<table>{''.join(parts)}<tbody>{body}</tbody></table>"


def _row(cells: Sequence[str], first: str, other: str) -> str:
    tags = [first, *[other] * (len(cells) - 1)]
    return f"<tr>{''.join(f'<{t} {_LEFT}>{_cell(cell)}</{t}>' for t, cell in zip(tags, cells, strict=True))}</tr>"


def _cell(cell: str) -> str:
    return cell if isinstance(cell, Markup) else escaped(cell)


def _padded(cell: str, width: int) -> str:
    return cell + " " * (width - _width(cell))


def _width(cell: str) -> int:
    """Return how many columns of a terminal *cell* takes: two for a CJK character, none for a combining one."""
    if cell.isascii():
        return len(cell)
    from wcwidth import wcswidth  # its tables are read only where they are needed

    width: int = wcswidth(cell)
    return len(cell) if width < 0 else width
