"""`%bottle selftest`: try to break out of a bottle from inside."""

from __future__ import annotations

from argparse import Namespace
from contextlib import ExitStack

from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import current
from bb_jupyter.errors import UsageError
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.options import add_launch_options, launch_options
from bb_jupyter.notebook.parser import Parser
from bb_jupyter.notebook.views.display import show_table
from bb_jupyter.selftest import require, selftest


def _arguments(parser: Parser) -> None:
    add_launch_options(parser)
    parser.add_argument("--new", action="store_true", help="launch NAME for the test, and stop it afterwards")


def _run(args: Namespace) -> None:
    options = launch_options(args)
    if not args.new and options != LaunchOptions():
        raise UsageError("%bottle selftest: launch options need --new", hint="Leave them out to test a running bottle.")
    with ExitStack() as stack:
        launched = stack.enter_context(current().launch(args.name, options)) if args.new else None
        results = selftest(launched or current().get(args.name))
    rows = [[result.promise, result.word, result.detail] for result in results]
    show_table(("promise", "verdict", "what was tried"), rows, empty="there was nothing to try")
    require(results)


command = Command(
    "try to break out of a bottle from inside; fails if a wall does not hold", _run, "NAME [--new options]", _arguments
)
