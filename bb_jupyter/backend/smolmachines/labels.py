"""What is written down of a machine: its labels, and what a later process needs to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bb_jupyter.backend.bottle import ActiveAgent
from bb_jupyter.backend.shared.labels import BottleLabels
from bb_jupyter.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan

BACKEND = "smolmachines"


def to_attach(plan: SmolmachinesBottlePlan) -> dict[str, Any]:
    """Return what a later process must know to run commands as this one does.

    It is kept on this host, for it holds values of the user's.
    """
    spec = plan.spec
    return {
        "image": plan.image,
        "cwd": spec.cwd,
        "user": spec.user,
        "env": plan.env,
        "limits": spec.limits.model_dump(exclude_none=True),
    }


def agent_of(labels: Mapping[str, str]) -> ActiveAgent | None:
    """Read the bottle of a labelled machine; `None` when the labels are not ours."""
    found = BottleLabels.read(labels)
    return found.active_agent(BACKEND, "running") if found else None
