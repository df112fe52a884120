"""`%bottle agents`: the agents that a cell can name, and what is wrong with the broken ones."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter.manifest import list_agents
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.display import show_table
from bb_jupyter.session import current


def _run(args: Namespace) -> None:
    rows = [
        [entry.name, entry.origin, str(entry.error or "ok"), entry.path] for entry in list_agents(current().project)
    ]
    show_table(("agent", "from", "state", "file"), rows, empty="there are no agents")


command = Command("list the agents, and what is wrong with broken ones", _run)
