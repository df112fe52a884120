"""Run coding agents in sandboxed bottles from Jupyter notebooks: `%load_ext bb_jupyter`, then `%%bottle demo`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bb_jupyter.process.trusted_imports import protect_imports

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from bb_jupyter import approvals, experiment
    from bb_jupyter.api import active, approve, attach, audit, cleanup, deny, doctor, get, launch, stop
    from bb_jupyter.backend import ActiveAgent, Bottle, Check, Chunk, Completed, CopyReport, Execution
    from bb_jupyter.core.bottle_handle import BottleHandle
    from bb_jupyter.errors import (
        BackendUnavailable,
        BottleError,
        BottleGone,
        BuildFailed,
        CommandFailed,
        ManifestError,
        NameTaken,
        PolicyDenied,
        UsageError,
    )
    from bb_jupyter.experiment import Experiment
    from bb_jupyter.notebook.experiment_magic import run_experiment
    from bb_jupyter.notebook.views.dashboard import Dashboard

protect_imports()

__version__ = "0.1.0"

__all__ = [
    "ActiveAgent",
    "BackendUnavailable",
    "Bottle",
    "BottleError",
    "BottleGone",
    "BottleHandle",
    "BuildFailed",
    "Check",
    "Chunk",
    "CommandFailed",
    "Completed",
    "CopyReport",
    "Dashboard",
    "Execution",
    "Experiment",
    "ManifestError",
    "NameTaken",
    "PolicyDenied",
    "UsageError",
    "active",
    "approvals",
    "approve",
    "attach",
    "audit",
    "cleanup",
    "deny",
    "doctor",
    "experiment",
    "get",
    "launch",
    "run_experiment",
    "stop",
]

#: Module → its public names.  A module is imported when one of its names is first used, which keeps `%load_ext` fast.
_MODULES = {
    "api": ("active", "approve", "attach", "audit", "cleanup", "deny", "doctor", "get", "launch", "stop"),
    "backend": ("ActiveAgent", "Bottle", "Check", "Chunk", "Completed", "CopyReport", "Execution"),
    "notebook.views.dashboard": ("Dashboard",),
    "experiment": ("Experiment",),
    "notebook.experiment_magic": ("run_experiment",),
    "core.bottle_handle": ("BottleHandle",),
}
#: Public packages: `approvals`, which can be called, and `experiment`.
_PACKAGES = ("approvals", "experiment")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    module = next((module for module, names in _MODULES.items() if name in names), "errors")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load_ipython_extension(ip: InteractiveShell) -> None:
    """Register the magics and their completion; `%load_ext bb_jupyter` calls this."""
    from bb_jupyter.notebook.magics import load

    load(ip)


def unload_ipython_extension(ip: InteractiveShell) -> None:
    """Remove the magics; bottles keep running."""
    from bb_jupyter.notebook.magics import unload

    unload(ip)
