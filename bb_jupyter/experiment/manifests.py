"""What the bottles and agents of an experiment are declared as, by hash: another one of the same name is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bb_jupyter.errors import BottleError
from bb_jupyter.experiment.definition import Definition

if TYPE_CHECKING:
    from pydantic import BaseModel

_M = TypeVar("_M", bound="BaseModel")
#: Where a manifest lies and how it is described says nothing about what it does.
_ABOUT = {"origin", "path", "description"}


def digest(*manifests: BaseModel | None) -> str:
    """Return a hash of what manifests declare; a manifest names credentials and never holds one."""
    told = [manifest.model_dump(mode="json", exclude=_ABOUT) if manifest else None for manifest in manifests]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def digests(definition: Definition, project: Path) -> dict[str, str]:
    """Return a hash of each manifest that an experiment names; one that only its workers have is left out.

    Args:
        definition: the experiment.
        project: directory with the agents of a repository.
    """
    from bb_jupyter.agent.provision_planning import load_agent
    from bb_jupyter.manifest import load_bottle

    agents = _found((variant.agent for variant in definition.agents.values()), lambda name: load_agent(name, project))
    checks = (definition.check_of(task) for task in definition.prompts)
    named = [*definition.bottles, *(check.bottle for check in checks if check)]
    bottles = _found((*named, *(agent.bottle or "" for agent in agents.values())), load_bottle)
    return {
        **{f"agent {name}": digest(agent) for name, agent in agents.items()},
        **{f"bottle {name}": digest(bottle) for name, bottle in bottles.items()},
    }


def _found(names: Iterable[str], load: Callable[[str], _M]) -> dict[str, _M]:
    found = {}
    for name in {*names} - {""}:
        with suppress(BottleError):
            found[name] = load(name)
    return found
