"""What a sub-command of `%bottle` is."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass

from bb_jupyter.notebook.parser import Parser


def no_arguments(parser: Parser) -> None:
    """Take none."""


@dataclass(frozen=True)
class Command:
    """A sub-command.

    Attributes:
        summary: what it does, in a few words.
        run: does it and shows what came of it; raises `BottleError`.
        takes: its arguments, for the help.
        add_arguments: declares them.
        needs_session: it works on bottles that this very process holds, so it is none for a terminal.
    """

    summary: str
    run: Callable[[Namespace], None]
    takes: str = ""
    add_arguments: Callable[[Parser], None] = no_arguments
    needs_session: bool = False
