"""How one kind of agent is put into a bottle, asked, and understood: the public names for writing a provider.

A provider of your own is one class in `~/.bot-bottle/contrib/<name>/agent_provider.py`, with a `Dockerfile` beside it
for Docker bottles.  Only `command` has to be written; `bb_jupyter.testing` checks that the whole keeps its promises:

    from bb_jupyter.agent import AgentCommand, AgentProvider

    class Mine(AgentProvider):
        title = "My agent"

        def command(self, prompt, *, resume=""):
            return AgentCommand(("my-agent", "--json"), stdin=prompt.encode())
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bb_jupyter.agent.credentials import resolve_token
    from bb_jupyter.agent.events import AgentEvent
    from bb_jupyter.agent.planner import plan_agent
    from bb_jupyter.agent.provider import AgentProvider
    from bb_jupyter.agent.provision_plan import (
        BOTTLE_FOLDER,
        PLACEHOLDER,
        AgentCommand,
        AgentProvisionPlan,
        AgentRequest,
        GuestFile,
        HostBind,
        Skill,
    )
    from bb_jupyter.agent.registry import ProviderEntry, get_provider, list_providers

__all__ = [
    "BOTTLE_FOLDER",
    "PLACEHOLDER",
    "AgentCommand",
    "AgentEvent",
    "AgentProvider",
    "AgentProvisionPlan",
    "AgentRequest",
    "GuestFile",
    "HostBind",
    "ProviderEntry",
    "Skill",
    "get_provider",
    "list_providers",
    "plan_agent",
    "resolve_token",
]

_HOME_OF = {
    "credentials": ("resolve_token",),
    "events": ("AgentEvent",),
    "provider": ("AgentProvider",),
    "provision_plan": (
        *("BOTTLE_FOLDER", "PLACEHOLDER", "AgentCommand", "AgentProvisionPlan", "AgentRequest"),
        *("GuestFile", "HostBind", "Skill"),
    ),
    "planner": ("plan_agent",),
    "registry": ("ProviderEntry", "get_provider", "list_providers"),
}


def __getattr__(name: str) -> object:
    for module, names in _HOME_OF.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
