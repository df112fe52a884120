"""`%bottle egress`: a bottle's requests to its gateway, and routes that would allow them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.session import current
from bb_jupyter.gateway.audit import audit_log
from bb_jupyter.gateway.audit.history import history, last_policy
from bb_jupyter.gateway.audit.suggest import suggest
from bb_jupyter.gateway.egress_plan import RoutePlan
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser
from bb_jupyter.notebook.views.display import say, show_table
from bb_jupyter.notebook.views.egress_table import HEAD, folded, policy_line

#: Most rows to show: the latest.
_SHOWN = 200


def _arguments(parser: Parser) -> None:
    parser.add_argument("past_name", metavar="NAME", help="a bottle, running or ended")
    parser.add_argument("--denied", action="store_true", help="only what was denied or failed")
    parser.add_argument(
        "--suggest", action="store_true", help="print the smallest routes that fit: what was used and what was denied"
    )


def _run(args: Namespace) -> None:
    name = args.past_name
    handle = next((handle for handle in current().handles() if handle.name == name), None)
    slug = handle.bottle.slug if handle else audit_log.slugs_of(name)[-1]
    if handle:
        handle.bottle.network.sync()
    generation, routes = last_policy(slug)
    if args.suggest:
        say(suggest(audit_log.read_slug(slug), routes).rstrip())
        return
    say(
        f"{name}: {_network(handle)}"
        if handle
        else f"{name} is not running in this kernel; its last {policy_line(generation, routes)}"
    )
    _show(slug, only_denied=args.denied)


def _network(handle: BottleHandle) -> str:
    network = handle.bottle.network
    if network.state == "none":
        return f"no network; `%bottle allow {handle.name} HOST` gives it one"
    if network.state == "lost":
        return "the gateway died, nothing is reachable"
    routes: Sequence[RoutePlan] = network.routes.routes if network.routes else ()
    return policy_line(network.generation, routes)


def _show(slug: str, *, only_denied: bool) -> None:
    rows = folded(record for record in history(slug) if record.is_request)
    rows = [row for row in rows if not only_denied or row.record.verdict != "allowed"]
    if len(rows) > _SHOWN:
        say(f"⋯ only the latest {_SHOWN} of {len(rows)} rows are shown: bb_jupyter.audit({slug!r}) has all of it")
    empty = "nothing was denied" if only_denied else "nothing was asked for"
    show_table(HEAD, [row.cells() for row in rows[-_SHOWN:]], empty=empty)


command = Command(
    "show what a bottle asked its gateway for, of an ended bottle too",
    _run,
    "NAME [--denied | --suggest]",
    _arguments,
)
