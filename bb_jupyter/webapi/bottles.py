"""The live bottles of this user as JSON, and what can be done to one from outside of its kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from bb_jupyter.backend import registry, state
from bb_jupyter.backend.bottle import ActiveAgent
from bb_jupyter.core.owner_requests import ask_to_allow
from bb_jupyter.errors import UsageError
from bb_jupyter.process.identity import ProcessIdentity
from bb_jupyter.webapi import output, usage


def _no_kernel(owner: ProcessIdentity) -> str:
    return ""


#: Finds the Jupyter kernel that a process is, by its id; empty for none.  A server, which knows its own, sets another.
kernel_of: Callable[[ProcessIdentity], str] = _no_kernel


def listing() -> Mapping[str, Any]:
    """Return every live bottle of the user, of all kernels and backends, oldest first."""
    active = registry.enumerate_active()
    used = usage.measure(state.records())
    return {"bottles": [{**_row(agent), **asdict(used.get(agent.slug, usage.Usage()))} for agent in active]}


def _row(agent: ActiveAgent) -> dict[str, Any]:
    return {
        "slug": agent.slug,
        "name": agent.name,
        "backend": agent.backend,
        "agent": agent.agent,
        "bottle": agent.bottle,
        "state": agent.state,
        "created": agent.created,
        "keep": agent.keep,
        "attached": agent.owner.alive,
        "owner": str(agent.owner) if agent.owner.alive else "no kernel",
        "kernel": kernel_of(agent.owner),
        "last": output.last_line(agent.slug, events=bool(agent.agent)),
    }


def stop(slug: str) -> Mapping[str, Any]:
    """Remove a bottle and all it has, whoever holds it.

    Raises:
        UsageError: there is none.
        BottleError: it cannot be removed.
    """
    record = _record(slug)
    registry.get(record.backend).stop(slug)
    record.remove()
    return {"stopped": record.name}


def allow(slug: str, host: str) -> Mapping[str, Any]:
    """Let a bottle reach one more host; its own kernel does it, busy or not.

    Raises:
        UsageError: there is no such bottle, no kernel holds it, or that is no host.
        BottleError: it was refused, or the kernel did not answer.
    """
    record = _record(slug)
    if not record.owner.alive:
        raise UsageError(f"no kernel holds '{record.name}'", hint=f"`%bottle attach {record.name}` first.")
    return {"generation": ask_to_allow(record.owner, slug, host)}


def _record(slug: str) -> state.BottleRecord:
    for record in state.records():
        if record.slug == slug:
            return record
    raise UsageError("this bottle does not run any more")
