"""Which backends there are, which one to use, and the live bottles of all.

Backends are entry points of the group `bb_jupyter.backends`: name → subclass of `BottleBackend`.  Another distribution
adds one the same way as this one does.  Installed code alone is looked at: a repository cannot bring a backend.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from bb_jupyter.backend.base import BottleBackend, Check
from bb_jupyter.backend.bottle import ActiveAgent
from bb_jupyter.errors import BackendUnavailable, BottleError, UsageError, did_you_mean

AnyBackend = BottleBackend[Any]

#: Group of the entry points.
GROUP = "bb_jupyter.backends"
#: Variable that chooses a backend where no option does.
VARIABLE = "BOT_BOTTLE_BACKEND"
_OURS = "bb_jupyter."


@cache
def _entry_points() -> dict[str, EntryPoint]:
    """Return the entry points by name.  This distribution's own names cannot be taken by another's."""
    found = sorted(entry_points(group=GROUP), key=lambda each: (each.value.startswith(_OURS), each.value))
    return {each.name: each for each in found}


def names() -> list[str]:
    """Return the names of all backends, those included that cannot be loaded."""
    return sorted(_entry_points())


@cache
def get(name: str) -> AnyBackend:
    """Return the backend called *name*, whether or not this host can run it.

    Raises:
        UsageError: there is none of that name.
        BackendUnavailable: it is installed and broken.
    """
    entry = _entry_points().get(name)
    if entry is None:
        hint = did_you_mean(name, names()) if names() else "Install bb-jupyter anew: it is older than its code."
        raise UsageError(f"no backend is called '{name}'", hint=hint)
    try:
        cls = entry.load()
        if not (isinstance(cls, type) and issubclass(cls, BottleBackend)):
            raise TypeError(f"{entry.value} is no BottleBackend")
        if getattr(cls, "name", "") != name:
            raise TypeError(f"{entry.value} has another name: {getattr(cls, 'name', '')!r}")
        return cls()
    except Exception as error:  # whatever a plug-in raises while it is imported
        origin = entry.dist.name if entry.dist else entry.value
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise BackendUnavailable(
            f"backend '{name}' of {origin} cannot be loaded: {reason}", hint=f"Mend or uninstall {origin}."
        ) from None


def loaded() -> list[AnyBackend]:
    """Return the backends that can be loaded, the preferred one first; a broken one does not hide the others."""
    found = []
    for name in names():
        try:
            found.append(get(name))
        except BackendUnavailable:
            continue  # `broken` says why
    return sorted(found, key=lambda backend: (-(backend.preference or 0), backend.name))


def broken() -> list[Check]:
    """Return a failed check for each backend that is installed and cannot be loaded."""
    found = []
    for name in names():
        try:
            get(name)
        except BackendUnavailable as error:
            found.append(Check(name, "failed", error.message, error.hint))
    return found


def choose(option: str = "") -> tuple[AnyBackend, str]:
    """Choose where to run: by option, then `BOT_BOTTLE_BACKEND`, then the preferred backend that is available.

    Args:
        option: what the user said; empty when nothing.

    Returns:
        The backend and, for the preflight, why it is this one.

    Raises:
        UsageError: the chosen name is not a backend's.
        BackendUnavailable: no backend works here, or the chosen one is broken.
    """
    if option:
        return get(option), "you chose it"
    if name := os.environ.get(VARIABLE):
        return get(name), f"{VARIABLE} says so"
    passed_over: list[str] = []
    for backend in loaded():
        if backend.preference is None:
            continue
        if backend.is_available():
            return backend, "; ".join([*passed_over, f"{backend.name} is available"])
        passed_over.append(f"{backend.name} is not available")
    raise BackendUnavailable("no backend works on this host", hint="`%bottle doctor` says what is missing.")


def enumerate_active() -> list[ActiveAgent]:
    """Return the live bottles of every available backend, oldest first; one that fails does not hide the others'.

    One backend after the other: threads would wait for the interpreter's lock longer than for the engine (20 instead of
    12 ms measured with 50 bottles).
    """
    found = (agent for backend in loaded() for agent in _active_of(backend))
    return sorted(found, key=lambda agent: agent.created)


def available() -> Sequence[AnyBackend]:
    """Return the backends that look usable here, the preferred one first."""
    return [backend for backend in loaded() if backend.is_available()]


def _active_of(backend: AnyBackend) -> Sequence[ActiveAgent]:
    if not backend.is_available():
        return ()
    try:
        return backend.enumerate_active()
    except BottleError:
        return ()  # an engine that is down has no bottle to show; `doctor` tells why
