"""What a user declares: bottles and agents, read from files that are trusted by where they lie.

Imported lazily: a name is loaded, with pydantic and PyYAML, when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bb_jupyter.manifest.agent import AgentManifest
    from bb_jupyter.manifest.agents import list_agents, load_agent
    from bb_jupyter.manifest.bottle import AgentProviderRef, BottleManifest
    from bb_jupyter.manifest.bottles import define_bottle, list_bottles, load_bottle, parse_bottle
    from bb_jupyter.manifest.egress import Auth, Egress, Route, allowed_route
    from bb_jupyter.manifest.git_gate import GitGate, GitRepo, GitUser
    from bb_jupyter.manifest.limits import Limits
    from bb_jupyter.manifest.locations import located
    from bb_jupyter.manifest.names import validate_name
    from bb_jupyter.manifest.secrets import resolve_token
    from bb_jupyter.manifest.sources import Entry, Origin, check_repository
    from bb_jupyter.manifest.units import about_size, format_duration, format_size, parse_duration, parse_size

__all__ = [
    "AgentManifest",
    "AgentProviderRef",
    "Auth",
    "BottleManifest",
    "Egress",
    "Entry",
    "GitGate",
    "GitRepo",
    "GitUser",
    "Limits",
    "Origin",
    "Route",
    "about_size",
    "allowed_route",
    "check_repository",
    "define_bottle",
    "format_duration",
    "format_size",
    "list_agents",
    "list_bottles",
    "load_agent",
    "load_bottle",
    "located",
    "parse_bottle",
    "parse_duration",
    "parse_size",
    "resolve_token",
    "validate_name",
]

_HOME_OF = {
    "agent": ("AgentManifest",),
    "agents": ("list_agents", "load_agent"),
    "bottle": ("AgentProviderRef", "BottleManifest"),
    "bottles": ("define_bottle", "list_bottles", "load_bottle", "parse_bottle"),
    "egress": ("Auth", "Egress", "Route", "allowed_route"),
    "git_gate": ("GitGate", "GitRepo", "GitUser"),
    "limits": ("Limits",),
    "names": ("validate_name",),
    "locations": ("located",),
    "secrets": ("resolve_token",),
    "sources": ("Entry", "Origin", "check_repository"),
    "units": ("about_size", "format_duration", "format_size", "parse_duration", "parse_size"),
}


def __getattr__(name: str) -> object:
    for module, names in _HOME_OF.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
