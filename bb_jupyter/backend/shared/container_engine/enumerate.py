"""Which bottles of this user live on the engine: one request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from bb_jupyter.backend import state
from bb_jupyter.backend.bottle import ActiveAgent
from bb_jupyter.backend.shared.bottle_broker import NO_BROKER
from bb_jupyter.backend.shared.container_engine import labels
from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.backend.shared.container_engine.labels import Labelled
from bb_jupyter.backend.shared.network import NO_GATEWAY

#: What `ls` says of a kept bottle whose container has ended with its engine: who attaches starts it again.
STOPPED = "stopped"


def containers(engine: Engine, slug: str = "") -> list[Labelled]:
    """Return this user's containers, running or not: those of one bottle or all.

    A kept bottle's owner is the process that attached to it last, which its record tells, not its label.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    with engine.errors("list containers"):
        return list(_known(engine.client.containers(all=True, filters=labels.mine(slug))))


def volumes(engine: Engine, slug: str = "") -> list[Labelled]:
    """Return this user's volumes, as `containers` does those.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    with engine.errors("list volumes"):
        found = engine.client.volumes(filters=labels.mine(slug))["Volumes"] or ()
    return list(_known({"Id": volume["Name"], "State": "", "Labels": volume["Labels"]} for volume in found))


def enumerate_active(engine: Engine) -> list[ActiveAgent]:
    """Return the live bottles, oldest first; kept ones that a restart of the engine stopped, too.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    found = containers(engine)
    told = {record.slug: record.state for record in state.records()}
    lost = {NO_GATEWAY: _lost(found, labels.GATEWAY), NO_BROKER: _lost(found, labels.RELAY)}
    states = {slug: _in_words(slug, told.get(slug, state.RUNNING), lost) for slug in {each.slug for each in found}}
    bottles = [container for container in found if container.role == labels.BOTTLE]
    states |= {each.slug: STOPPED for each in bottles if each.ended}
    active = [
        container.active_agent(engine.backend, states[container.slug])
        for container in bottles
        if container.running or (container.keep and container.ended)
    ]
    return sorted(active, key=lambda agent: agent.created)


def _lost(found: Iterable[Labelled], role: str) -> set[str]:
    """Return the slugs of bottles of which no container in *role* runs, though one did."""
    those = [each for each in found if each.role == role]
    return {each.slug for each in those if each.ended} - {each.slug for each in those if each.running}


def _in_words(slug: str, told: str, lost: Mapping[str, set[str]]) -> str:
    """Join what a bottle's owner wrote down and what the engine shows."""
    wrong = dict.fromkeys(told.split(", ")) | dict.fromkeys(what for what, slugs in lost.items() if slug in slugs)
    return ", ".join(what for what in wrong if what != state.RUNNING) or state.RUNNING


def _known(summaries: Iterable[Mapping[str, Any]]) -> Iterator[Labelled]:
    known = [container for container in map(Labelled.of, summaries) if container]
    owners = {record.slug: record.owner for record in state.records()} if any(c.keep for c in known) else {}
    for container in known:
        yield replace(container, owner=owners.get(container.slug, container.owner))
