"""`%bottle agents`: list the agents and providers that a cell can name, and the errors of broken ones."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter.agent.registry import ProviderEntry, list_providers
from bb_jupyter.core.session import current
from bb_jupyter.errors import did_you_mean
from bb_jupyter.manifest import AgentManifest, Entry, list_agents
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.error_display import state
from bb_jupyter.notebook.views.display import show_table


def _run(args: Namespace) -> None:
    declared, providers = list_agents(current().project), list_providers()
    known = {entry.name: entry for entry in providers}
    rows = [_agent(entry, known) for entry in declared]
    names = {entry.name for entry in declared}
    rows += [_provider(entry) for entry in providers if entry.name not in names]
    show_table(("agent", "provider", "from", "state", "file"), rows, empty="there are no agents")


def _agent(entry: Entry[AgentManifest], providers: dict[str, ProviderEntry]) -> list[str]:
    """Return an agent's row; an agent is broken if its provider is."""
    name = (entry.manifest.provider if entry.manifest else None) or ""
    shown = state(entry.error)
    if name and name not in providers:
        shown = f"there is no provider '{name}'; {did_you_mean(name, providers)}"
    elif name and providers[name].error:
        shown = f"its provider is broken: {state(providers[name].error)}"
    return [entry.name, name or "the bottle's", entry.origin, shown, entry.path]


def _provider(entry: ProviderEntry) -> list[str]:
    """Return a provider's row: the name of a provider is also an agent without further settings."""
    origin = f"{entry.origin}, replaces the built-in one" if entry.replaces_built_in else entry.origin
    return [entry.name, entry.name, origin, state(entry.error), str(entry.path) if entry.origin == "home" else ""]


command = Command("list the agents, with the errors of broken ones", _run)
