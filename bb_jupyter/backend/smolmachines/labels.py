"""What a machine's labels say: whose it is, and of which bottle."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from bb_jupyter.backend.bottle import ActiveAgent
from bb_jupyter.backend.docker.labels import tenant_id
from bb_jupyter.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from bb_jupyter.process.identity import ProcessIdentity

_PREFIX = "bb-jupyter."
BACKEND = "smolmachines"


def of_plan(plan: SmolmachinesBottlePlan) -> dict[str, str]:
    """Return the labels of a machine that is about to start."""
    spec = plan.spec
    values = {
        "home": tenant_id(),
        "slug": plan.slug,
        "name": spec.name,
        "owner": json.dumps(ProcessIdentity.current().to_dict()),
        "created": f"{time.time():.3f}",
        "keep": str(int(spec.keep)),
        "agent": spec.agent.name if spec.agent else "",
        "bottle": spec.manifest.name,
    }
    return {_PREFIX + key: value for key, value in values.items()}


def to_attach(plan: SmolmachinesBottlePlan) -> dict[str, Any]:
    """Return what a later process must know to run commands as this one does; kept here, for the user's own values."""
    spec = plan.spec
    return {
        "image": plan.image,
        "cwd": spec.cwd,
        "user": spec.user,
        "env": plan.env,
        "limits": spec.limits.model_dump(exclude_none=True),
    }


def mine(slug: str = "") -> dict[str, str]:
    """Return the labels by which this user's machines are listed, of one bottle or of all."""
    wanted = {"home": tenant_id()} | ({"slug": slug} if slug else {})
    return {_PREFIX + key: value for key, value in wanted.items()}


def get(labels: Mapping[str, str], key: str) -> str:
    """Return the value of one of our labels; empty when it is missing."""
    return labels.get(_PREFIX + key, "")


def agent_of(labels: Mapping[str, str]) -> ActiveAgent | None:
    """Read the bottle of a labelled machine; `None` when the labels are not ours."""
    try:
        return ActiveAgent(
            slug=labels[_PREFIX + "slug"],
            name=labels[_PREFIX + "name"],
            backend=BACKEND,
            agent=get(labels, "agent"),
            bottle=get(labels, "bottle"),
            state="running",
            created=float(labels[_PREFIX + "created"]),
            owner=ProcessIdentity.from_dict(json.loads(labels[_PREFIX + "owner"])),
            keep=get(labels, "keep") == "1",
        )
    except (KeyError, ValueError):
        return None
