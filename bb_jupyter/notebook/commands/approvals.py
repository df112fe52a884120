"""`%bottle approvals`: show what bottles ask of their human."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter import approvals
from bb_jupyter.errors import UsageError, did_you_mean
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser
from bb_jupyter.notebook.views.display import say, show, show_table
from bb_jupyter.notebook.views.proposal_view import as_html, as_text, end, title


def _arguments(parser: Parser) -> None:
    parser.add_argument("what", metavar="NAME", nargs="?", default="", help="of one bottle only, or one by its number")
    parser.add_argument("--all", action="store_true", help="a table of all that is known, decided ones too")


def _run(args: Namespace) -> None:
    if args.what.isdecimal():
        one = approvals.get(int(args.what))
        standing = approvals.status(one.id)
        show(as_text(one, standing), as_html(one, standing))
        return
    known = approvals.all_proposals()
    if args.what and args.what not in (names := {proposal.bottle for proposal, _ in known} | _running()):
        raise UsageError(f"no bottle '{args.what}' asks for anything", hint=did_you_mean(args.what, names))
    mine = [(proposal, standing) for proposal, standing in known if args.what in ("", proposal.bottle)]
    if args.all:
        rows = [[title(proposal), proposal.kind, end(proposal, standing)] for proposal, standing in mine]
        show_table(("request", "kind", "outcome"), rows, empty="there are no requests")
        return
    waiting = [(proposal, standing) for proposal, standing in mine if standing.state == "pending"]
    for proposal, standing in waiting:
        show(as_text(proposal, standing), as_html(proposal, standing))
    if not waiting:
        say("nothing waits for a decision")


def _running() -> set[str]:
    from bb_jupyter.backend import state

    return {record.name for record in state.records()}


command = Command("show what bottles ask of you", _run, "[NAME] [--all]", _arguments)
