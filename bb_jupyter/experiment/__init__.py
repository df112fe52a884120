"""Experiments: many bottles, compared.  Which agent, model, prompt or policy does better, and how sure is that?

    from bb_jupyter.experiment import Experiment
    experiment = Experiment("parsers", agents=["claude", "codex"], prompts="Mend the parser.", workspace="parser",
                            check="pytest -q", repeats=5)
    experiment.run()              # or run(executor), run(dask_client)
    print(experiment.compare())

What limits 100,000 runs on a cluster, and what was measured to say so (2 processors that were busy otherwise, too):

* The index, on the one host that has the record.  A run is three transactions there: claimed, begun, finished.  With
  100,000 rows they take 1.7 ms of processor time together, and 26 to 39 ms by the clock, most of it for the disk to
  confirm.  So an experiment ends some 25 to 40 runs a second at most, however large the cluster is: 100,000 runs take
  about an hour at least, and agents that work for minutes on 1,000 workers never come near it.
* Looking at it.  Reading 100,000 states takes 0.09 s of processor time; the grid is refreshed so seldom that this
  stays below a tenth of all time, and beyond 3,000 runs it shows counts.  `compare` of 100,000 results takes 7 s, and
  so does `to_dataframe`.
* Memory of that host: 62 MB with 100,000 runs waiting, 180 to 230 MB while all results are compared.  Over 2,000 runs
  in threads of one process it went from 46.5 to 48.3 MB.
* Its disk: 1.4 kB a run in the index (143 MB), and each run's files: at most 64 MiB of events and, of what the agent
  printed, what a cell's log holds; from a cluster 32 MiB of each file.
* The hosts that run bottles: a trivial run on bubblewrap takes 1.2 times as long as its bottle alone, 9 ms more (200
  runs: 18 a second against 22; 119 of a bare `bwrap true`); on docker as long (50 runs: 1 a second).
* The cluster's connections: inputs are sent once to each worker; news of a run go through dask's scheduler, so agents
  that print megabytes a second load it.  A workspace of gigabytes belongs into an image.
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
