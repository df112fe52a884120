"""`%bottle approve`: say yes to what a bottle asks for."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from bb_jupyter import approvals
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser, request_number
from bb_jupyter.notebook.views.display import say
from bb_jupyter.notebook.views.proposal_view import end, title
from bb_jupyter.text.visible import one_line


def _arguments(parser: Parser) -> None:
    parser.add_argument("id", metavar="ID", help="number of the request; `%%bottle approvals` shows it")
    parser.add_argument("--why", default="", metavar="TEXT", help="words for the agent")
    parser.add_argument("--ref", action="append", metavar="REF", help="of a push: only this ref; can be repeated")
    parser.add_argument("--answer", metavar="TEXT", help="to a question")
    parser.add_argument("--to", metavar="PATH", help="of a file: where to copy it; by default into the bottle's inbox")


def _run(args: Namespace) -> None:
    from bb_jupyter.broker import effects

    proposal = approvals.get(request_number(args.id))
    given: dict[str, Any] = {"why": args.why, "refs": args.ref, "answer": args.answer, "to": args.to}
    standing = effects.approve(proposal.id, token=proposal.token, **given)
    say(f"{one_line(title(proposal))} — {one_line(end(proposal, standing))}")


command = Command(
    "say yes to a request",
    _run,
    "ID [--why TEXT] [--ref REF]... [--answer TEXT] [--to PATH]",
    _arguments,
)
