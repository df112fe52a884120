"""`%bottle stop`: remove bottles."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter.core.session import current
from bb_jupyter.errors import UsageError
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser
from bb_jupyter.notebook.views.display import say
from bb_jupyter.process import deferred_interrupts


def _arguments(parser: Parser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="*", help="bottles to stop")
    parser.add_argument("--all", action="store_true", help="stop every bottle of this kernel")


def _run(args: Namespace) -> None:
    if bool(args.names) == args.all:
        raise UsageError("%bottle stop: give the names of the bottles to stop, or --all")
    if args.all:
        with deferred_interrupts.defer_sigint():  # an interrupt must not hide what was stopped
            _say(current().stop_all())
    for name in args.names:
        with deferred_interrupts.defer_sigint():
            current().stop(name)
            _say([name])


def _say(stopped: list[str]) -> None:
    say(f"stopped {', '.join(stopped)}" if stopped else "no bottle of this kernel is running")


command = Command("stop bottles and remove everything they hold", _run, "NAME... | --all", _arguments)
