"""The type of a sub-command of `%bottle`."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass

from bb_jupyter.notebook.parser import Parser


def no_arguments(parser: Parser) -> None:
    """Declare no arguments."""


@dataclass(frozen=True)
class Command:
    """A sub-command.

    Attributes:
        summary: what it does, in a few words.
        run: runs it and shows the result; raises `BottleError`.
        takes: its arguments, for the help.
        add_arguments: declares the arguments.
        needs_session: whether it works on bottles of this process; a terminal does not offer it then.
    """

    summary: str
    run: Callable[[Namespace], None]
    takes: str = ""
    add_arguments: Callable[[Parser], None] = no_arguments
    needs_session: bool = False
