"""`%bottle attach`: attach this kernel to a kept bottle whose kernel has ended."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter.core.session import current
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser
from bb_jupyter.notebook.views.display import say


def _arguments(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="a bottle that was launched with --keep")


def _run(args: Namespace) -> None:
    handle = current().attach(args.name)
    say(f"attached {handle.name} ({handle.plan.spec.backend})")


command = Command(
    "attach this kernel to a kept bottle whose kernel has ended", _run, "NAME", _arguments, needs_session=True
)
