"""Output in a cell: every display is HTML and plain text; without a notebook, the text alone is printed."""

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
    """Print *text*, made visible."""
    sys.stdout.write(visible(text) + "\n")
    sys.stdout.flush()


def show(text: str, markup: str) -> None:
    """Show *markup* in a notebook, and *text* elsewhere.

    Args:
        text: for terminals, nbval and papermill; this function makes it visible.
        markup: the same content as HTML; the caller has escaped all data in it.
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
        text: plain text, already made visible.
        markup: the same content as HTML; the caller has escaped all data in it.
        handle: an earlier display to replace.
        extra: the same content in other media types, for front ends that support them.

    Returns:
        A handle to replace the display later.
    """
    from IPython.display import display

    data = {"text/plain": text, "text/html": markup, **(extra or {})}
    if handle is None:
        return display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call, no-any-return]
    handle.update(data, raw=True)  # type: ignore[no-untyped-call]
    return handle


def show_plan(plan: BottlePlan) -> None:
    """Show the preflight of a launch."""
    rows = plan.rows()
    title = f"bottle <b>{escaped(plan.spec.name)}</b> · {escaped(rows[0][1])}"
    show(plan.text(), f"<details open><summary>{title}</summary>{html_table(rows, labels=True)}</details>")


def show_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Show a table.

    Args:
        head: titles of the columns.
        rows: cells, as text.
        empty: text to print when there are no rows.
    """
    if not rows:
        say(empty)
        return
    show(text_table(rows, head), html_table(rows, head))
