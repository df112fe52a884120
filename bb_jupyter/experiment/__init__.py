"""Experiments compare agents, models, prompts or policies over many runs, each in a bottle of its own.

    from bb_jupyter.experiment import Experiment
    experiment = Experiment("parsers", agents=["claude", "codex"], prompts="Mend the parser.", workspace="parser",
                            check="pytest -q", repeats=5)
    experiment.run()              # or run(executor), run(dask_client)
    print(experiment.compare())

Limits for 100,000 runs on a cluster, measured on 2 processors with other load:

* The index, on the host with the store.  A run takes three transactions: claimed, begun, finished.  With 100,000 rows
  these take 1.7 ms of processor time together, and 26 to 39 ms of wall time, most of it for the disk.  So at most 25 to
  40 runs a second end, however large the cluster is, and 100,000 runs take an hour at least.  Agents that work for
  minutes on 1,000 workers stay far below this rate.
* Reading the states.  100,000 states take 0.09 s of processor time.  The grid is refreshed so rarely that reading stays
  below a tenth of the time; beyond 3,000 runs it shows counts.  `compare` of 100,000 results takes 7 s, as does
  `to_dataframe`.
* Memory of that host.  62 MB with 100,000 waiting runs; 180 to 230 MB while all results are compared.  2,000 runs in
  threads of one process raised it from 46.5 to 48.3 MB.
* Disk of that host.  1.4 kB a run in the index (143 MB), and each run's files: at most 64 MiB of events, and the
  agent's output up to the size of a cell's log; from a cluster at most 32 MiB of each file.
* Hosts with bottles.  On bubblewrap, a trivial run takes 1.2 times as long as its bottle alone, 9 ms more (200 runs:
  18 a second instead of 22; 119 of a bare `bwrap true`); on docker, no longer (50 runs: 1 a second).
* Connections of the cluster.  Inputs are sent once to each worker.  Messages of runs pass dask's scheduler, so agents
  that print megabytes a second load it.  A workspace of gigabytes should be part of an image.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bb_jupyter.experiment.compare import Comparison
    from bb_jupyter.experiment.definition import Definition, RunCheck, RunLimits, Task, Variant, Workspace
    from bb_jupyter.experiment.experiment import Experiment, load
    from bb_jupyter.experiment.job import Finished
    from bb_jupyter.experiment.record import CheckResult, RunRecord

__all__ = [
    "CheckResult",
    "Comparison",
    "Definition",
    "Experiment",
    "Finished",
    "RunCheck",
    "RunLimits",
    "RunRecord",
    "Task",
    "Variant",
    "Workspace",
    "load",
]

_HOME_OF = {
    "compare": ("Comparison",),
    "definition": ("RunCheck", "Definition", "RunLimits", "Task", "Variant", "Workspace"),
    "experiment": ("Experiment", "load"),
    "job": ("Finished",),
    "record": ("CheckResult", "RunRecord"),
}


def __getattr__(name: str) -> object:
    for module, names in _HOME_OF.items():
        if name in names:
            return getattr(import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
