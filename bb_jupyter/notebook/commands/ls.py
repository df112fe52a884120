"""`%bottle ls`: list the running bottles of this user, of all kernels."""

from __future__ import annotations

import time
from argparse import Namespace
from collections import Counter

from bb_jupyter import approvals
from bb_jupyter.backend.bottle import ActiveAgent
from bb_jupyter.core.session import current
from bb_jupyter.manifest import format_duration
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.views.display import show_table
from bb_jupyter.process.identity import ProcessIdentity


def _run(args: Namespace) -> None:
    head = ("name", "backend", "agent", "bottle", "state", "up", "owner", "kept")
    waiting = Counter(proposal.slug for proposal in approvals.pending())
    rows = [_row(agent, waiting[agent.slug]) for agent in current().active()]
    show_table(head, rows, empty="no bottle is running")


def _row(agent: ActiveAgent, waiting: int) -> list[str]:
    uptime = format_duration(max(0, int(time.time() - agent.created)))
    owner = _owner(agent)
    return [
        agent.name,
        agent.backend,
        agent.agent,
        agent.bottle,
        agent.state + _waits(waiting),
        uptime,
        owner,
        "yes" if agent.keep else "",
    ]


def _waits(count: int) -> str:
    return f", {count} request{' waits' if count == 1 else 's wait'} for you" if count else ""


def _owner(agent: ActiveAgent) -> str:
    if agent.owner == ProcessIdentity.current():
        return "this kernel"
    return str(agent.owner) if agent.owner.alive else "none (see %bottle attach)"


command = Command("list the running bottles of all kernels", _run)
