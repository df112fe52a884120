"""Which backends there are, which one to use, and what all of them hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

from bb_jupyter.backend.base import BottleBackend
from bb_jupyter.backend.bottle import ActiveAgent
from bb_jupyter.errors import BackendUnavailable, BottleError, UsageError, did_you_mean

AnyBackend = BottleBackend[Any]

#: Backend name → module that holds its class; imported only when used.
_BACKENDS = {
    "docker": ("bb_jupyter.backend.docker.backend", "DockerBackend"),
    "bubblewrap": ("bb_jupyter.backend.bubblewrap.backend", "BubblewrapBackend"),
    "smolmachines": ("bb_jupyter.backend.smolmachines.backend", "SmolmachinesBackend"),
}
#: Those that are chosen where nobody names one, the preferred one first.
_UNASKED = ("docker", "bubblewrap")
#: Variable that chooses a backend where no option does.
VARIABLE = "BOT_BOTTLE_BACKEND"


def names() -> list[str]:
    """Return the names of all backends, the preferred one first."""
    return list(_BACKENDS)


@cache
def get(name: str) -> AnyBackend:
    """Return the backend called *name*, whether or not this host can run it.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in _BACKENDS:
        raise UsageError(f"no backend is called '{name}'", hint=did_you_mean(name, _BACKENDS))
    module, cls = _BACKENDS[name]
    backend: AnyBackend = getattr(import_module(module), cls)()
    return backend


def choose(option: str = "") -> tuple[AnyBackend, str]:
    """Choose where to run: by option, then `BOT_BOTTLE_BACKEND`, then Docker if it answers, then bubblewrap.

    Args:
        option: what the user said; empty when nothing.

    Returns:
        The backend and, for the preflight, why it is this one.

    Raises:
        UsageError: the chosen name is not a backend's.
        BackendUnavailable: no backend works here.
    """
    if option:
        return get(option), "you chose it"
    if name := os.environ.get(VARIABLE):
        return get(name), f"{VARIABLE} says so"
    passed_over: list[str] = []
    for name in _UNASKED:
        backend = get(name)
        if backend.is_available():
            return backend, "; ".join([*passed_over, f"{name} is available"])
        passed_over.append(f"{name} is not available")
    raise BackendUnavailable("no backend works on this host", hint="`%bottle doctor` says what is missing.")


def enumerate_active() -> list[ActiveAgent]:
    """Return the live bottles of every available backend, oldest first; one that fails does not hide the others'.

    One backend after the other: threads would wait for the interpreter's lock longer than for the engine (20 instead of
    12 ms measured with 50 bottles).
    """
    found = (agent for name in names() for agent in _active_of(get(name)))
    return sorted(found, key=lambda agent: agent.created)


def available() -> Sequence[AnyBackend]:
    """Return the backends that look usable here."""
    return [backend for backend in map(get, names()) if backend.is_available()]


def _active_of(backend: AnyBackend) -> Sequence[ActiveAgent]:
    if not backend.is_available():
        return ()
    try:
        return backend.enumerate_active()
    except BottleError:
        return ()  # an engine that is down has no bottle to show; `doctor` tells why
