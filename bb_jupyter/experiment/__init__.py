"""Experiments: many bottles, compared."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bb_jupyter.experiment.check import Finished
    from bb_jupyter.experiment.compare import Comparison
    from bb_jupyter.experiment.definition import Check, Definition, RunLimits, Task, Variant, Workspace
    from bb_jupyter.experiment.experiment import Experiment, load
    from bb_jupyter.experiment.outcome import Verdict
    from bb_jupyter.experiment.record import RunRecord

__all__ = [
    "Check",
    "Comparison",
    "Definition",
    "Experiment",
    "Finished",
    "RunLimits",
    "RunRecord",
    "Task",
    "Variant",
    "Verdict",
    "Workspace",
    "load",
]

_HOME_OF = {
    "check": ("Finished",),
    "compare": ("Comparison",),
    "definition": ("Check", "Definition", "RunLimits", "Task", "Variant", "Workspace"),
    "experiment": ("Experiment", "load"),
    "outcome": ("Verdict",),
    "record": ("RunRecord",),
}


def __getattr__(name: str) -> object:
    for module, names in _HOME_OF.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
