"""`%bottle deny`: deny what a bottle asks for."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter import approvals
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser, request_number
from bb_jupyter.notebook.views.display import say
from bb_jupyter.notebook.views.proposal_view import end, title
from bb_jupyter.text.visible import one_line


def _arguments(parser: Parser) -> None:
    parser.add_argument("id", metavar="ID", help="number of the request; `%%bottle approvals` shows it")
    parser.add_argument("--why", required=True, metavar="TEXT", help="words for the agent")


def _run(args: Namespace) -> None:
    from bb_jupyter.broker import effects

    proposal = approvals.get(request_number(args.id))
    standing = effects.deny(proposal.id, why=args.why, token=proposal.token)
    say(f"{one_line(title(proposal))} — {one_line(end(proposal, standing))}")


command = Command("deny a request", _run, "ID --why TEXT", _arguments)
