"""`%bottle cleanup`: remove what killed kernels left behind."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter.core.session import current
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser
from bb_jupyter.notebook.views.display import say


def _arguments(parser: Parser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="list what would be removed; remove nothing")


def _run(args: Namespace) -> None:
    found = current().cleanup(dry_run=args.dry_run)
    verb = "would remove" if args.dry_run else "removed"
    say("\n".join(f"{verb} {line}" for line in found) or "nothing to clean up")


command = Command("remove what killed kernels left behind; running bottles stay", _run, "[--dry-run]", _arguments)
