"""What dead owners' bottles left on the engine and in this user's folder, and its removal."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from bb_jupyter.backend import state
from bb_jupyter.backend.docker import endpoint, engine
from bb_jupyter.backend.docker.bottle_cleanup_plan import DockerBottleCleanupPlan
from bb_jupyter.backend.docker.enumerate import containers
from bb_jupyter.backend.docker.launch import remove
from bb_jupyter.backend.plan import Orphan

#: Removals at a time.
_AT_ONCE = 8


def prepare_cleanup() -> DockerBottleCleanupPlan:
    """List orphans without touching them.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    # Records first: a launch writes its record before its container, and removes it after.
    records = [record for record in state.records() if record.backend == "docker" and not record.owner.alive]
    found = list(containers())
    orphans = [
        Orphan(container.slug, "container", container.container)
        for container in found
        if not container.keep and not container.owner.alive
    ]
    kept = {container.slug for container in found} - {orphan.slug for orphan in orphans}
    here = endpoint.find().url
    orphans += [
        Orphan(record.slug, "state", str(record.directory))
        for record in records
        if record.slug not in kept and record.details.get("engine", here) == here
    ]
    return DockerBottleCleanupPlan(tuple(orphans))


def cleanup(plan: DockerBottleCleanupPlan) -> None:
    """Remove what *plan* lists; its containers before its state.  Idempotent.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    _remove_all(orphan.what for orphan in plan.orphans if orphan.kind == "container")
    gone = {orphan.slug for orphan in plan.orphans if orphan.kind == "state"}
    for record in state.records():
        if record.slug in gone and not record.owner.alive:
            record.remove()


def stop(slug: str) -> None:
    """Remove the containers of one bottle, whoever owns it.  Idempotent.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    _remove_all(container.container for container in containers(slug))


def _remove_all(ids: Iterable[str]) -> None:
    client = engine.client()
    doomed = list(ids)
    if len(doomed) == 1:
        return remove(client, doomed[0])
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda container: remove(client, container), doomed))
