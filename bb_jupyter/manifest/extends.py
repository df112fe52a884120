"""What ``extends`` means: how a bottle's keys are laid over those of the bottles it builds on."""

from __future__ import annotations

from typing import TypeVar

from bb_jupyter.manifest.egress import Egress
from bb_jupyter.manifest.strict_model import StrictModel

F = TypeVar("F", bound=StrictModel)


def merged(parent: F, child: F) -> F:
    """Lay *child* over *parent*.

    Keys that the child does not have are the parent's. Mappings are merged key by key; a repository of the git gate is
    one value, taken whole. Routes replace those of the same host, and an empty list or ``egress:`` with nothing closes
    the network. Other lists are replaced.
    """
    over = {name: _value(getattr(parent, name), getattr(child, name)) for name in child.model_fields_set}
    return parent.model_copy(update=over)


def _value(old: object, new: object) -> object:
    if isinstance(old, Egress) and isinstance(new, Egress):
        return old.merged(new)
    if isinstance(old, StrictModel) and isinstance(new, StrictModel):
        return merged(old, new)
    return {**old, **new} if isinstance(old, dict) and isinstance(new, dict) else new
