"""`%bottle agents`: the agents and the providers that a cell can name, and what is wrong with the broken ones."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter.agent.registry import ProviderEntry, list_providers
from bb_jupyter.manifest import AgentManifest, list_agents
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.display import show_table
from bb_jupyter.notebook.errors import state
from bb_jupyter.session import current


def _run(args: Namespace) -> None:
    declared = list_agents(current().project)
    rows = [
        [entry.name, _provider_of(entry.manifest), entry.origin, state(entry.error), entry.path] for entry in declared
    ]
    names = {entry.name for entry in declared}
    rows += [_provider(entry) for entry in list_providers() if entry.name not in names]
    show_table(("agent", "provider", "from", "state", "file"), rows, empty="there are no agents")


def _provider_of(agent: AgentManifest | None) -> str:
    return (agent.provider if agent else "") or "the bottle's"


def _provider(entry: ProviderEntry) -> list[str]:
    """Return a provider's row: its name stands for an agent of it that says nothing else."""
    origin = f"{entry.origin}, instead of the built-in one" if entry.replaces_built_in else entry.origin
    return [entry.name, entry.name, origin, state(entry.error), str(entry.path) if entry.origin == "home" else ""]


command = Command("list the agents, and what is wrong with broken ones", _run)
