"""Labels that identify a bottle on an engine or in a cloud: whose it is, its name, and since when it exists."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from bb_jupyter.backend.bottle import ActiveAgent
from bb_jupyter.backend.plan import BottlePlan
from bb_jupyter.home import bot_bottle_home
from bb_jupyter.process.identity import ProcessIdentity

PREFIX = "bb-jupyter."


def tenant_id() -> str:
    """Return what separates this user's bottles from others' on a shared engine: a hash of host, user and home."""
    whose = f"{platform.node()}\0{os.getuid()}\0{bot_bottle_home()}"
    return hashlib.sha256(whose.encode()).hexdigest()[:24]


def prefixed(values: Mapping[str, str]) -> dict[str, str]:
    """Return *values* under the names that labels have on an engine."""
    return {PREFIX + key: value for key, value in values.items()}


def of_plan(plan: BottlePlan) -> dict[str, str]:
    """Return the labels of a bottle that is about to start, owned by this process."""
    spec = plan.spec
    return prefixed(
        {
            "home": tenant_id(),
            "slug": plan.slug,
            "name": spec.name,
            "owner": json.dumps(ProcessIdentity.current().to_dict()),
            "created": f"{time.time():.3f}",
            "keep": str(int(spec.keep)),
            "agent": spec.agent.name if spec.agent else "",
            "bottle": spec.manifest.name,
        }
    )


def mine(slug: str = "") -> dict[str, str]:
    """Return the labels that all of this user's bottles have, or only the bottle *slug*."""
    return prefixed({"home": tenant_id()} | ({"slug": slug} if slug else {}))


def get(labels: Mapping[str, str], key: str) -> str:
    """Return the value of one of our labels; empty when it is missing."""
    return labels.get(PREFIX + key, "")


@dataclass(frozen=True, kw_only=True)
class BottleLabels:
    """What labels say of a bottle.

    Attributes:
        slug: its identity.
        name: what the user calls it.
        owner: the process that launched it.
        created: seconds since the epoch.
        keep: it may outlive its owner.
        agent: name of its agent; empty for a plain shell.
        bottle: name of its manifest; empty for none.
    """

    slug: str
    name: str
    owner: ProcessIdentity
    created: float
    keep: bool
    agent: str
    bottle: str

    @classmethod
    def read(cls, labels: Mapping[str, str], **more: object) -> Self | None:
        """Read *labels*, and add the fields of a subclass; `None` when the labels are not ours."""
        try:
            return cls(
                slug=labels[PREFIX + "slug"],
                name=labels[PREFIX + "name"],
                owner=_owner(labels[PREFIX + "owner"]),
                created=float(labels[PREFIX + "created"]),
                keep=get(labels, "keep") == "1",
                agent=get(labels, "agent"),
                bottle=get(labels, "bottle"),
                **more,
            )
        except (KeyError, ValueError):
            return None

    def active_agent(self, backend: str, state: str) -> ActiveAgent:
        """Return the bottle as `BottleBackend.enumerate_active` does.

        Args:
            backend: name of its backend.
            state: `running`, or what is wrong with it.
        """
        return ActiveAgent(
            slug=self.slug,
            name=self.name,
            backend=backend,
            agent=self.agent,
            bottle=self.bottle,
            state=state,
            created=self.created,
            owner=self.owner,
            keep=self.keep,
        )


def _owner(label: str) -> ProcessIdentity:
    """Read an owner: JSON, or JSON in hexadecimal digits where the engine takes no quotation mark."""
    text = label if label.startswith("{") else bytes.fromhex(label)
    return ProcessIdentity.from_dict(json.loads(text))
