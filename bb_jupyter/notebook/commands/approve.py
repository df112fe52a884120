"""`%bottle approve`: approve what a bottle asks for."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from bb_jupyter import approvals
from bb_jupyter.approvals import kinds
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser, request_number
from bb_jupyter.notebook.views.display import say
from bb_jupyter.notebook.views.proposal_view import end, title
from bb_jupyter.text.visible import one_line


def _arguments(parser: Parser) -> None:
    parser.add_argument("id", metavar="ID", help="number of the request; `%%bottle approvals` shows it")
    parser.add_argument("--why", default="", metavar="TEXT", help="words for the agent")
    for option in kinds.options().values():
        more: dict[str, Any] = {"action": "append"} if option.several else {}
        shown = option.help.replace("%", "%%")
        parser.add_argument(option.as_flag, dest=option.name, metavar=option.metavar, help=shown, **more)


def _run(args: Namespace) -> None:
    from bb_jupyter.broker import effects

    proposal = approvals.get(request_number(args.id))
    given = {name: getattr(args, name) for name in kinds.options()}
    standing = effects.approve(proposal.id, token=proposal.token, why=args.why, **given)
    say(f"{one_line(title(proposal))} — {one_line(end(proposal, standing))}")


command = Command("approve a request", _run, "ID [--why TEXT] [options]", _arguments)
