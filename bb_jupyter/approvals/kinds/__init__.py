"""The kinds of requests, a file each: a module here that defines `kind` is one.

A kind is named as its file, with ``-`` for ``_``.  A new kind is this one file, and a part in ``frontend/kinds/`` that
draws its card; nothing else names kinds.  See `base.Kind` for what a kind defines.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

from bb_jupyter.approvals.kinds.base import Kind, Option
from bb_jupyter.approvals.store.proposal import Proposal
from bb_jupyter.errors import UsageError, did_you_mean


@cache
def names() -> tuple[str, ...]:
    """Return the name of every kind, sorted; imports none of them."""
    files = sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name != "base")
    return tuple(name.replace("_", "-") for name in files)


@cache
def get(name: str) -> Kind[Any]:
    """Return a kind by its name.

    Raises:
        UsageError: there is no such kind.
    """
    if name not in names():
        raise UsageError(f"there is no kind of request '{name}'", hint=did_you_mean(name, names()))
    kind: Kind[Any] = import_module(f"{__name__}.{name.replace('-', '_')}").kind
    return kind


def of(proposal: Proposal) -> Kind[Any]:
    """Return the kind of a proposal.

    Raises:
        UsageError: this version of the package has no such kind.
    """
    return get(proposal.kind)


@cache
def options() -> Mapping[str, Option]:
    """Return what the approvals of all kinds take, by name."""
    return {option.name: option for name in names() for option in get(name).options}


def answer(proposal: Proposal, given: Mapping[str, object]) -> Mapping[str, Any]:
    """Return what an approval of *proposal* says beside yes.

    Args:
        proposal: what is approved.
        given: values by the names of options; ``None`` for one that is not given.

    Raises:
        UsageError: there is no such option, it belongs to another kind, or its value does not fit the proposal.
    """
    kind, known = of(proposal), options()
    own = {option.name for option in kind.options}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise UsageError(f"there is no option '{name}' of an approval", hint=did_you_mean(name, known))
        if value is None:
            continue
        if name not in own:
            owners = " or ".join(other for other in names() if name in {option.name for option in get(other).options})
            raise UsageError(f"{name}: request {proposal.id} is no {owners} but of kind '{kind.name}'")
        values[name] = known[name].read(value)
    return kind.answer(proposal, kind.read(proposal), values)
