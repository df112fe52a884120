"""`%bottle allow`: allow a running bottle to reach more hosts."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter.core.session import current
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser
from bb_jupyter.notebook.views.display import say
from bb_jupyter.notebook.views.egress_table import policy_line


def _arguments(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="a bottle of this kernel")
    parser.add_argument(
        "hosts", metavar="HOST[:PORT]", nargs="+", help="a host name, or *.DOMAIN for all hosts below DOMAIN"
    )


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
        say("Commands that start from now on have the network; those that run already do not.")


command = Command(
    "allow a running bottle to reach more hosts",
    _run,
    "NAME HOST[:PORT]...",
    _arguments,
    needs_session=True,
)
