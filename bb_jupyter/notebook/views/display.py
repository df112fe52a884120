"""Rich output with a plain twin: every display is HTML and text, and only the text where that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bb_jupyter.backend.plan import BottlePlan
from bb_jupyter.notebook import kernel
from bb_jupyter.text.table import escaped, html_table, text_table
from bb_jupyter.text.visible import visible

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
    rows = plan.rows()
    title = f"bottle <b>{escaped(plan.spec.name)}</b> · {escaped(rows[0][1])}"
    show(plan.text(), f"<details open><summary>{title}</summary>{html_table(rows, labels=True)}</details>")


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
    show(text_table(rows, head), html_table(rows, head))
