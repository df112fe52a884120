"""`%bottle allow`: let a running bottle reach more hosts."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter.core.session import current
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser
from bb_jupyter.notebook.views.display import say
from bb_jupyter.notebook.views.egress_table import policy_line


def _arguments(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="a bottle of this kernel")
    parser.add_argument("hosts", metavar="HOST[:PORT]", nargs="+", help="exact, or *.suffix for every host below it")


def _run(args: Namespace) -> None:
    handle = current().get(args.name)
    network = handle.bottle.network
    before = network.routes.routes if network.routes else ()
    had_network = network.state != "none"
    generation = handle.allow(*args.hosts)
    routes = network.routes.routes if network.routes else ()
    new = ", ".join(str(route) for route in routes if route not in before)
    say(f"{handle.name} may now reach {new}" if new else f"{handle.name} could reach that already")
    say(policy_line(generation, routes))
    if not had_network:
        say("Commands that start from now on find the network.")


command = Command(
    "let a running bottle reach more hosts, from now on",
    _run,
    "NAME HOST[:PORT]...",
    _arguments,
    needs_session=True,
)
