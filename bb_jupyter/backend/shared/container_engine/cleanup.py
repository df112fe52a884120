"""What dead owners' bottles left on the engine and in this user's folder, and its removal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from bb_jupyter.backend import state
from bb_jupyter.backend.plan import BottleCleanupPlan, Orphan
from bb_jupyter.backend.shared.bottle_broker import end_left, left
from bb_jupyter.backend.shared.container_engine import branch, labels
from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.backend.shared.container_engine.enumerate import containers, volumes
from bb_jupyter.backend.shared.container_engine.labels import Labelled

#: Removals at a time.
_AT_ONCE = 8
#: How the engine calls a container that has not ended.
_ALIVE = frozenset({"running", "paused", "restarting"})


def prepare_cleanup(engine: Engine) -> BottleCleanupPlan:
    """List orphans without touching them.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    # Records first: a launch writes its record before its container, and removes it after.
    records = [record for record in state.records() if record.backend == engine.backend and not record.owner.alive]
    found = containers(engine)
    bottles = {each.slug for each in found if each.role == labels.BOTTLE and each.status in _ALIVE}
    lost = list(_orphans(found, bottles))
    orphans = [Orphan(container.slug, "container", container.id) for container in lost]
    orphans += [Orphan(volume.slug, "volume", volume.id) for volume in _orphans(volumes(engine), bottles)]
    kept = {container.slug for container in found if container not in lost}
    orphans += branch.orphans(engine)
    here = engine.endpoint.url
    dead = [each for each in records if each.slug not in kept and each.details.get("engine", here) == here]
    orphans += [Orphan(record.slug, "process", str(broker)) for record in dead if (broker := left(record))]
    orphans += [Orphan(record.slug, "state", str(record.directory)) for record in dead]
    return BottleCleanupPlan(tuple(orphans))


def _orphans(found: Iterable[Labelled], bottles: set[str]) -> Iterator[Labelled]:
    """Yield what a dead owner left.  A kept bottle that runs stays, with its gateway."""
    for each in found:
        kept = each.keep and each.role != labels.HANDOFF and each.slug in bottles
        if not kept and not each.owner.alive:
            yield each


def cleanup(engine: Engine, plan: BottleCleanupPlan) -> None:
    """Remove what *plan* lists; its containers before its volumes, and those before its state.  Idempotent.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    for kind, act in (("container", engine.remove), ("volume", engine.remove_volume)):
        _all(act, [orphan.what for orphan in plan.orphans if orphan.kind == kind])
    for orphan in plan.orphans:
        if orphan.kind == "image":
            engine.remove_image(orphan.what)
    gone = {orphan.slug for orphan in plan.orphans if orphan.kind == "state"}
    for record in state.records():
        if record.slug in gone and not record.owner.alive:
            end_left(record)
            record.remove()


def stop(engine: Engine, slug: str) -> None:
    """Remove the broker, the containers and the volumes of one bottle, whoever owns it.  Idempotent.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    for record in state.records():
        if record.slug == slug:
            end_left(record)
    _all(engine.remove, [container.id for container in containers(engine, slug)])
    _all(engine.remove_volume, [volume.id for volume in volumes(engine, slug)])


def _all(act: Callable[[str], None], names: list[str]) -> None:
    if len(names) == 1:
        act(names[0])
    elif names:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(act, names))
