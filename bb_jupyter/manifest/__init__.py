"""Manifests: the bottles and agents that a user declares.  The place of a file decides how far it is trusted.

Names are imported lazily, because pydantic and PyYAML take long to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bb_jupyter.manifest.agent_loading import list_agents, load_agent
    from bb_jupyter.manifest.agent_model import AgentManifest
    from bb_jupyter.manifest.bottle_loading import define_bottle, list_bottles, load_bottle, parse_bottle
    from bb_jupyter.manifest.bottle_model import AgentProviderRef, BottleManifest
    from bb_jupyter.manifest.egress_model import Auth, Egress, Route, allowed_route
    from bb_jupyter.manifest.git_gate_model import GitGate, GitRepo, GitUser
    from bb_jupyter.manifest.limits import Limits
    from bb_jupyter.manifest.locations import located
    from bb_jupyter.manifest.manifest_files import Entry, Origin, check_repository, validate_name
    from bb_jupyter.manifest.token_refs import resolve_token
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

_MODULE_OF = {
    "agent_model": ("AgentManifest",),
    "agent_loading": ("list_agents", "load_agent"),
    "bottle_model": ("AgentProviderRef", "BottleManifest"),
    "bottle_loading": ("define_bottle", "list_bottles", "load_bottle", "parse_bottle"),
    "egress_model": ("Auth", "Egress", "Route", "allowed_route"),
    "git_gate_model": ("GitGate", "GitRepo", "GitUser"),
    "limits": ("Limits",),
    "locations": ("located",),
    "manifest_files": ("Entry", "Origin", "check_repository", "validate_name"),
    "token_refs": ("resolve_token",),
    "units": ("about_size", "format_duration", "format_size", "parse_duration", "parse_size"),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULE_OF.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
