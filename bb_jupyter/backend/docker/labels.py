"""What a container's labels say: whose it is, of which bottle, and since when."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bb_jupyter.backend.docker.bottle_plan import DockerBottlePlan
from bb_jupyter.home import bot_bottle_home
from bb_jupyter.process.identity import ProcessIdentity

_PREFIX = "bb-jupyter."
#: Version of this set of labels.
_VERSION = "1"
#: Roles of containers: the bottle itself, its gateway, who brings that the bottle's sockets, and the relay of its
#: broker.
BOTTLE, GATEWAY, HANDOFF, RELAY = "bottle", "gateway", "handoff", "relay"
#: Role of the volume where gateway and handoff meet.
VOLUME = "volume"
#: Role of the image that holds a bottle's files for its branches.
SNAPSHOT = "snapshot"


def tenant_id() -> str:
    """Return what tells this user's bottles from others' on a shared engine: a hash of host, user and folder."""
    whose = f"{platform.node()}\0{os.getuid()}\0{bot_bottle_home()}"
    return hashlib.sha256(whose.encode()).hexdigest()[:24]


def of_plan(plan: DockerBottlePlan, role: str = BOTTLE) -> dict[str, str]:
    """Return the labels of a bottle that is about to start, or of what it has beside its own container."""
    spec = plan.spec
    values = {
        "backend-version": _VERSION,
        "home": tenant_id(),
        "slug": plan.slug,
        "role": role,
        "name": spec.name,
        "owner": json.dumps(ProcessIdentity.current().to_dict()),
        "created": f"{time.time():.3f}",
        "keep": str(int(spec.keep)),
        "agent": spec.agent.name if spec.agent else "",
        "bottle": spec.manifest.name,
        "spec": json.dumps(_to_attach(plan)),
    }
    return {_PREFIX + key: value for key, value in values.items()}


def _to_attach(plan: DockerBottlePlan) -> dict[str, Any]:
    """Return what a later process must know to run commands as this one does."""
    spec = plan.spec
    return {
        "image": plan.image,
        "cwd": spec.cwd,
        "user": spec.user,
        "limits": spec.limits.model_dump(exclude_none=True),
    }


def get(labels: Mapping[str, str], key: str) -> str:
    """Return the value of one of our labels; empty when it is missing."""
    return labels.get(_PREFIX + key, "")


def is_mine(labels: Mapping[str, str]) -> bool:
    """Whether a container with these labels is this user's."""
    return get(labels, "home") == tenant_id()


def mine(slug: str = "", *, role: str = "") -> dict[str, list[str]]:
    """Return the engine's filter for what is this user's: of one bottle or of all, in one role or in any."""
    wanted = {"home": tenant_id(), "slug": slug, "role": role}
    return {"label": [f"{_PREFIX}{key}={value}" for key, value in wanted.items() if value]}


@dataclass(frozen=True)
class Labelled:
    """A container (or volume) of this user's, as one line of the engine's list tells it.

    Attributes:
        container: its id; of a volume, its name.
        status: as the engine names it, such as `running`; empty for a volume.
        role: `bottle`, `gateway`, `handoff`, `relay` or `volume`.
        slug: its bottle's identity.
        name: its bottle's name.
        owner: the process that launched it.
        created: seconds since the epoch.
        keep: it may outlive its owner.
        agent: name of its agent.
        bottle: name of its manifest.
    """

    container: str
    status: str
    role: str
    slug: str
    name: str
    owner: ProcessIdentity
    created: float
    keep: bool
    agent: str
    bottle: str

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.status == "running"

    @property
    def ended(self) -> bool:
        """Whether its process has ended, as after a restart of the engine or of its machine."""
        return self.status in ("exited", "dead")

    @classmethod
    def read(cls, summary: Mapping[str, Any]) -> Labelled | None:
        """Read an entry of the engine's list; `None` when its labels are not ours."""
        labels = summary["Labels"]
        try:
            return cls(
                container=summary["Id"],
                status=summary["State"],
                role=labels.get(_PREFIX + "role", BOTTLE),
                slug=labels[_PREFIX + "slug"],
                name=labels[_PREFIX + "name"],
                owner=ProcessIdentity.from_dict(json.loads(labels[_PREFIX + "owner"])),
                created=float(labels[_PREFIX + "created"]),
                keep=labels[_PREFIX + "keep"] == "1",
                agent=labels[_PREFIX + "agent"],
                bottle=labels[_PREFIX + "bottle"],
            )
        except (KeyError, ValueError):
            return None
