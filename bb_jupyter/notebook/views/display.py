"""Rich output with a plain twin: every display is HTML and text, and only the text where that is asked for."""

from __future__ import annotations

import html
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bb_jupyter.backend.plan import BottlePlan
from bb_jupyter.notebook import kernel
from bb_jupyter.text.visible import one_line, visible

if TYPE_CHECKING:
    from IPython.display import DisplayHandle


def say(text: str) -> None:
    """Print a line of our own."""
    sys.stdout.write(visible(text) + "\n")
    sys.stdout.flush()


def show(text: str, markup: str) -> None:
    """Show *text*, as the HTML *markup* where this is a notebook.

    Args:
        text: for terminals, nbval and papermill; made visible here.
        markup: the same as HTML; everything in it that is data is escaped by whoever made it.
    """
    if not kernel.is_rich():
        say(text)
        return
    publish(visible(text), markup)


def publish(
    text: str, markup: str, handle: DisplayHandle | None = None, *, extra: Mapping[str, object] | None = None
) -> DisplayHandle | None:
    """Show HTML with its plain twin.

    Args:
        text: fit to be shown.
        markup: the same as HTML, escaped.
        handle: an earlier display to replace.
        extra: the same for front ends that know more, by media type.

    Returns:
        What replaces it later.
    """
    from IPython.display import display

    data = {"text/plain": text, "text/html": markup, **(extra or {})}
    if handle is None:
        return display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call, no-any-return]
    handle.update(data, raw=True)  # type: ignore[no-untyped-call]
    return handle


def show_plan(plan: BottlePlan) -> None:
    """Show the preflight."""
    rows = [(escaped(label), escaped(text)) for label, text in plan.rows()]
    body = "".join(
        f'<tr><th style="text-align:left">{label}</th><td style="text-align:left">{text}</td></tr>'
        for label, text in rows
    )
    title = f"bottle <b>{escaped(plan.spec.name)}</b> · {rows[0][1]}"
    show(plan.text(), f"<details open><summary>{title}</summary><table>{body}</table></details>")


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Show a table.

    Args:
        head: titles of the columns.
        rows: cells, as text.
        empty: what to say when there are no rows.
    """
    if not rows:
        say(empty)
        return
    show(*table(head, rows))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, str]:
    """Return a table as text and as HTML; cells may be hostile."""
    clean = [[one_line(cell) for cell in row] for row in rows]
    return _as_text(head, clean), _as_html(head, clean)


def escaped(text: str) -> str:
    """Return *text* for HTML, on one line, with nothing invisible in it."""
    return html.escape(one_line(text))


def _as_text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def _as_html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "".join(f'<{tag} style="text-align:left">{html.escape(cell)}</{tag}>' for cell in cells)

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return f"<table><thead><tr>{row(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"
