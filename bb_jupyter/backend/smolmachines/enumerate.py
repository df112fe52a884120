"""This user's bottles that have a machine: the SDK lists machines by label, and branches are found by name."""

from __future__ import annotations

from dataclasses import dataclass

from bb_jupyter.backend import state
from bb_jupyter.backend.bottle import ActiveAgent
from bb_jupyter.backend.shared.labels import mine
from bb_jupyter.backend.smolmachines import labels, sdk
from bb_jupyter.backend.smolmachines.bottle_plan import machine_name
from bb_jupyter.backend.smolmachines.sdk import Target


@dataclass(frozen=True)
class Listed:
    """A machine of this user.

    Attributes:
        where: its target.
        id: its id there.
        running: whether commands can run in it.
        agent: its bottle.
    """

    where: Target
    id: str
    running: bool
    agent: ActiveAgent


def records() -> list[state.BottleRecord]:
    """Return the records of this backend."""
    return [record for record in state.records() if record.backend == labels.BACKEND]


def machines(where: Target) -> list[Listed]:
    """Return this user's machines on one target, running or not.

    A branch has the labels of its source or none, depending on the target; its name and its record identify it.

    Raises:
        BackendUnavailable: the SDK or the cloud does not answer.
    """
    from smol import Machine

    known = {machine_name(record.slug): record for record in records()}
    branches = any(record.details.get("branch") for record in known.values())
    with sdk.errors("list machines"):
        found = Machine.list(sdk.connection(where), labels=None if branches else mine())
    ours = mine().items()
    listed = []
    for machine in found:
        record = known.get(machine.name)
        labelled = labels.agent_of(machine.labels) if ours <= machine.labels.items() else None
        own = labelled if labelled and machine_name(labelled.slug) == machine.name else None
        agent = ActiveAgent.of_record(record) if record else own
        if agent:
            listed.append(Listed(where, machine.id, machine.state in sdk.ALIVE, agent))
    return listed


def targets() -> list[Target]:
    """Return the targets of this user's records; a record exists before its machine and is removed after it."""
    used = set(map(_target, records()))
    return [where for where in ("local", "cloud") if where in used]


def enumerate_active() -> list[ActiveAgent]:
    """Return the live bottles, oldest first.

    Raises:
        BackendUnavailable: the SDK or the cloud does not answer.
    """
    listed = [machine for where in targets() for machine in machines(where) if machine.running]
    return sorted((machine.agent for machine in listed), key=lambda agent: agent.created)


def _target(record: state.BottleRecord) -> str:
    return str(record.details.get("target", ""))
