"""Which bottles of this user live on the engine: one request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bb_jupyter.backend import state
from bb_jupyter.backend.bottle import ActiveAgent
from bb_jupyter.backend.docker import engine, labels
from bb_jupyter.backend.docker.labels import Labelled


def containers(slug: str = "") -> Iterator[Labelled]:
    """Yield this user's containers, running or not: those of one bottle or all.

    A kept bottle's owner is the process that attached to it last, which its record tells, not its label.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    client = engine.client()
    with engine.errors("list containers"):
        found = client.containers(all=True, filters=labels.mine(slug))
    known = [container for container in map(Labelled.read, found) if container]
    owners = {record.slug: record.owner for record in state.records()} if any(c.keep for c in known) else {}
    for container in known:
        yield replace(container, owner=owners.get(container.slug, container.owner))


def enumerate_active() -> list[ActiveAgent]:
    """Return the live bottles, oldest first.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    active = [_agent(container) for container in containers() if container.running]
    return sorted(active, key=lambda agent: agent.created)


def _agent(container: Labelled) -> ActiveAgent:
    return ActiveAgent(
        slug=container.slug,
        name=container.name,
        backend="docker",
        agent=container.agent,
        bottle=container.bottle,
        state="running",
        created=container.created,
        owner=container.owner,
        keep=container.keep,
    )
