"""Rows about experiments: many trivial runs against as many bare sandboxes and bare bottles, and memory over 2,000."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

from bb_jupyter.backend.bubblewrap import bwrap
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import current
from bb_jupyter.experiment import Experiment
from bb_jupyter.experiment.executors import capacity
from tests.bench.measure import Row
from tests.leftovers import Engine

_RUNS, _DOCKER_RUNS, _MANY = 200, 50, 2000
_names = (f"many{number}" for number in count())
#: Runs many trivial runs and prints the process' memory, in MB, after each so many.
_MEMORY = """
import sys
from pathlib import Path
from bb_jupyter.experiment import Experiment

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

at = {}
def look(progress):
    done = progress.count("passed")
    for mark in (200, 1000, 2000):
        if done >= mark:
            at.setdefault(mark, resident())

Experiment("memory", prompts="true", repeats=int(sys.argv[1]), backend="bubblewrap").run(on_tick=look)
print(at[200], at[1000], at[2000])
"""


def rows(engine: Engine | None) -> Iterator[Row]:
    """Many runs on bubblewrap, on docker, and what stays in memory."""
    yield from _bubblewrap()
    if engine is not None:
        yield _docker(engine)
    yield _memory()


def _bubblewrap() -> Iterator[Row]:
    links = [word for name in ("bin", "lib", "lib64") for word in ("--symlink", f"usr/{name}", f"/{name}")]
    bare = [str(bwrap.find()[0]), "--ro-bind", "/usr", "/usr", *links, "--unshare-all", "--proc", "/proc"]
    bare += ["--dev", "/dev", "true"]
    options = LaunchOptions(backend="bubblewrap")
    experiment = _experiment(_RUNS, backend="bubblewrap")
    workers = capacity(experiment.definition)
    ours = _seconds(experiment.run)
    row = Row(f"bubblewrap: {_RUNS} trivial runs", "bwrap true", "reported", unit="s")
    row.ours.append(ours)
    row.theirs.append(_seconds(lambda: _together(workers, _RUNS, lambda: subprocess.run(bare, check=True))))
    row.facts = {"runs/s": _RUNS / ours, "sandboxes/s": _RUNS / row.theirs[0], "at a time": workers}
    yield row
    record = Row(f"bubblewrap: {_RUNS} runs, the record", "bottle, script, stop", "<= 1.5x", unit="s")
    record.ours.append(ours)
    record.theirs.append(_seconds(lambda: _together(workers, _RUNS, lambda: _bottle(options))))
    record.facts = {"ms of the record a run": (ours - record.theirs[0]) / _RUNS * 1000}
    yield record


def _docker(engine: Engine) -> Row:
    options = LaunchOptions(backend="docker", image=engine.base_image)
    experiment = _experiment(_DOCKER_RUNS, backend="docker", image=engine.base_image)
    workers = capacity(experiment.definition)
    row = Row(f"docker: {_DOCKER_RUNS} trivial runs", "bottle, script, stop", "<= 1.5x", unit="s")
    row.ours.append(_seconds(experiment.run))
    row.theirs.append(_seconds(lambda: _together(workers, _DOCKER_RUNS, lambda: _bottle(options))))
    row.facts = {"runs/s": _DOCKER_RUNS / row.ours[0]}
    return row


def _memory() -> Row:
    command = [sys.executable, "-c", _MEMORY, str(_MANY)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ})
    early, middle, late = map(float, done.stdout.split())
    row = Row(f"memory over {_MANY} runs", "after 200", "flat", unit="MB")
    row.ours.append(late)
    row.theirs.append(early)
    row.facts = {"after 1000": middle, "kB a run": (late - early) * 1000 / (_MANY - 200)}
    return row


def _experiment(runs: int, **given: Any) -> Experiment:
    return Experiment(next(_names), prompts="true", repeats=runs, **given)


def _bottle(options: LaunchOptions) -> None:
    """Do by hand what a trivial run does, without a record."""
    with current().launch(next(_names), options) as handle:
        handle.exec(["mkdir", "-p", "work"]).wait()
        execution, log = handle.run("true", cwd="work")
        execution.wait()
        log.close()


def _together(workers: int, times: int, act: Callable[[], object]) -> None:
    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(act) for _ in range(times)]:
            future.result()


def _seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start
