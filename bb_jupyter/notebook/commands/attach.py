"""`%bottle attach`: hold a kept bottle again after its kernel is gone."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.display import say
from bb_jupyter.notebook.parser import Parser
from bb_jupyter.session import current


def _arguments(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="a bottle that was launched with --keep")


def _run(args: Namespace) -> None:
    held = current().attach(args.name)
    say(f"attached {held.name} ({held.plan.spec.backend})")


command = Command("hold a kept bottle again whose kernel is gone", _run, "NAME", _arguments, needs_session=True)
