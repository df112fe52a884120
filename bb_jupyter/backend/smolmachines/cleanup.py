"""Find and remove the machines (here and in the cloud) and state directories of bottles whose owner is dead."""

from __future__ import annotations

import os

from bb_jupyter.backend import state
from bb_jupyter.backend.plan import BottleCleanupPlan, Orphan
from bb_jupyter.backend.shared.bottle_broker import end_left, left
from bb_jupyter.backend.smolmachines import enumerate, sdk
from bb_jupyter.backend.smolmachines.bottle_plan import machine_name
from bb_jupyter.backend.smolmachines.sdk import Target

_KINDS: dict[Target, str] = {"local": "machine", "cloud": "cloud machine"}


def prepare_cleanup() -> BottleCleanupPlan:
    """List orphans without touching them; cloud machines without a record too, since they cost money.

    Raises:
        BackendUnavailable: the SDK or the cloud does not answer.
    """
    dead = [record for record in enumerate.records() if not record.owner.alive]
    where = {*enumerate.targets(), *(["cloud"] if os.environ.get(sdk.TOKEN) else [])}
    found = [machine for target in _KINDS if target in where for machine in enumerate.machines(target)]
    lost = [each for each in found if not each.agent.owner.alive and not (each.agent.keep and each.running)]
    kept = {each.agent.slug for each in found if each not in lost}
    orphans = [Orphan(each.agent.slug, _KINDS[each.where], each.id) for each in lost]
    orphans += [Orphan(record.slug, "process", str(broker)) for record in dead if (broker := left(record))]
    orphans += [
        Orphan(record.slug, "state", str(record.directory))
        for record in dead
        if record.slug not in kept and _was_looked_at(record, where)
    ]
    return BottleCleanupPlan(tuple(orphans))


def cleanup(plan: BottleCleanupPlan) -> None:
    """Remove what *plan* lists, machines before state.  Idempotent.

    Raises:
        BackendUnavailable: the SDK or the cloud does not answer.
    """
    from smol import Machine

    for where, kind in _KINDS.items():
        for orphan in plan.orphans:
            if orphan.kind == kind:
                with sdk.errors(f"remove {orphan}"):
                    Machine.delete_by_name(orphan.what, sdk.connection(where))
    gone = {orphan.slug for orphan in plan.orphans if orphan.kind == "state"}
    for record in enumerate.records():
        if record.slug in gone and not record.owner.alive:
            end_left(record)
            record.remove()


def stop(slug: str) -> None:
    """Remove the machine of one bottle, whoever owns it.  Idempotent.

    Raises:
        BackendUnavailable: the SDK or the cloud does not answer.
    """
    for record in enumerate.records():
        if record.slug == slug and record.details.get("target"):
            end_left(record)
            sdk.remove_machine(record.details["target"], machine_name(slug))


def _was_looked_at(record: state.BottleRecord, where: set[str]) -> bool:
    """Whether the record's target was listed; a record without a target has no machine."""
    return record.details.get("target", "") in {*where, ""}
