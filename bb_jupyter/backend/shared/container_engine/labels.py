"""Labels of what an engine holds of a bottle: containers, volumes, images of snapshots."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bb_jupyter.backend.shared import labels
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.labels import PREFIX, BottleLabels, get, tenant_id

#: Version of this set of labels.
_VERSION = "1"
#: Roles of containers: the bottle itself; its gateway; the container that hands the bottle's listening sockets off to
#: the gateway; the relay of its broker.
BOTTLE, GATEWAY, HANDOFF, RELAY = "bottle", "gateway", "handoff", "relay"
#: The role of a handoff container in the version before.
_OLD_HANDOFF = "donor"
#: Role of the volume with the Unix socket between gateway and handoff container.
VOLUME = "volume"
#: Role of an image that holds a bottle's files for its branches.
SNAPSHOT = "snapshot"


def of_plan(plan: ContainerBottlePlan, role: str = BOTTLE) -> dict[str, str]:
    """Return the labels of a bottle that is about to start, or of what belongs to it in another *role*."""
    more = {"backend-version": _VERSION, "role": role, "spec": json.dumps(_to_attach(plan))}
    return labels.of_plan(plan) | labels.prefixed(more)


def of_snapshot(plan: ContainerBottlePlan) -> list[str]:
    """Return what an image of the bottle's files changes of the container's labels, as lines of a Dockerfile.

    No value has a quotation mark, a space or a backslash: podman 4.3 does not take such a line as it is meant.
    """
    values = of_plan(plan, SNAPSHOT)
    owner = values[PREFIX + "owner"].encode().hex()
    changed = {PREFIX + key: values[PREFIX + key] for key in ("role", "created")} | {PREFIX + "owner": owner}
    return [f"LABEL {key}={value}" for key, value in changed.items()]


def _to_attach(plan: ContainerBottlePlan) -> dict[str, Any]:
    """Return what a later process must know to run commands as this one does."""
    spec = plan.spec
    return {
        "image": plan.image,
        "cwd": spec.cwd,
        "user": spec.user,
        "limits": spec.limits.model_dump(exclude_none=True),
    }


def is_mine(found: Mapping[str, str]) -> bool:
    """Whether a container with the labels *found* is this user's."""
    return get(found, "home") == tenant_id()


def mine(slug: str = "", *, role: str = "") -> dict[str, list[str]]:
    """Return the engine's filter for what is this user's: of one bottle or of all, in one role or in any."""
    wanted = labels.mine(slug) | (labels.prefixed({"role": role}) if role else {})
    return {"label": [f"{key}={value}" for key, value in wanted.items()]}


@dataclass(frozen=True, kw_only=True)
class Labelled(BottleLabels):
    """A container, volume or image of this user's, as one entry of the engine's list shows it.

    Attributes:
        id: its id; of a volume, its name.
        status: as the engine names it, such as `running`; empty for a volume or an image.
        role: `bottle`, `gateway`, `handoff`, `relay`, `volume` or `snapshot`.
    """

    id: str
    status: str
    role: str

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.status == "running"

    @property
    def ended(self) -> bool:
        """Whether its process has ended, as after a restart of the engine or of its machine."""
        return self.status in ("exited", "dead", "stopped")

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Labelled | None:
        """Read an entry of the engine's list; `None` when its labels are not ours."""
        found = entry["Labels"] or {}
        role = found.get(PREFIX + "role", BOTTLE)
        return cls.read(found, id=entry["Id"], status=entry["State"], role=HANDOFF if role == _OLD_HANDOFF else role)
