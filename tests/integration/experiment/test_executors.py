"""Where runs are done, and how they end early: executors, interrupts, dead kernels, two kernels at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from bb_jupyter.errors import BottleError, UsageError
from bb_jupyter.experiment import load
from bb_jupyter.experiment.schedule import ExperimentProgress
from bb_jupyter.manifest import define_bottle
from tests.integration.experiment.conftest import New, bottles_left

pytestmark = pytest.mark.bubblewrap
_PATIENCE = 200.0


def test_threads_of_the_users(new: New) -> None:
    with ThreadPoolExecutor(3) as pool:
        done = new(repeats=6).run(pool)
        assert {run.state for run in done.runs()} == {"passed"}
        assert pool.submit(int).result() == 0, "it is the user's, and still works"


def test_processes(new: New, bottle_name: str) -> None:
    define_bottle(bottle_name, "env: {WHOM: you}")  # in this process only
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        done = new(prompts="echo hello $WHOM", repeats=4, bottles=bottle_name).run(pool)
    assert {run.state for run in done.runs()} == {"passed"}
    workers = {run.outcome.facts["worker"].rpartition(":")[2] for run in done.runs() if run.outcome}
    assert str(os.getpid()) not in workers
    assert all(run.answer == "hello you\n" and run.events for run in done.runs())


def test_processes_that_a_kernel_forked_are_refused(new: New) -> None:
    """They would wait for ever for what the kernel's threads held; Python forks on Linux unless it is told."""
    with ThreadPoolExecutor(1) as threads, ProcessPoolExecutor(2, get_context("fork")) as pool:
        assert threads.submit(int).result() == 0, "there are threads, as in every kernel"
        experiment = new(repeats=2)
        with pytest.raises(BottleError, match=r"were forked from a kernel(\n|.)*get_context\('spawn'\)"):
            experiment.run(pool)
    experiment.resume()
    assert {run.state for run in experiment.runs()} == {"passed"}


def test_a_process_that_dies_takes_no_result_with_it(new: New, home: Path) -> None:
    killed: list[int] = []

    def kill_one(progress: ExperimentProgress) -> None:
        if progress.count("passed") >= 1 and not killed:
            killed.append(next(iter(pool._processes)))
            os.kill(killed[0], signal.SIGKILL)

    experiment = new(prompts="sleep 0.5", repeats=8)
    with (
        ProcessPoolExecutor(2, get_context("spawn")) as pool,
        pytest.raises(BottleError, match=r"takes no more|no result"),
    ):
        experiment.run(pool, on_tick=kill_one)
    assert killed
    before = {run.id: run.finished for run in experiment.runs() if run.counted}
    assert before
    experiment.resume()
    assert {run.state for run in experiment.runs()} == {"passed"}
    assert before.items() <= {run.id: run.finished for run in experiment.runs()}.items(), "counted once"


def test_what_is_no_executor_is_told(new: New) -> None:
    with pytest.raises(UsageError, match="not an executor"):
        new().run("threads")


def test_interrupt_ends_every_run_and_resume_goes_on(new: New, home: Path) -> None:
    def interrupt(progress: ExperimentProgress) -> None:
        if progress.count("passed") == 2 and progress.count("running") == 2 and not progress.stopping:
            raise KeyboardInterrupt

    experiment = new(prompts={"quick": "true", "slow": "test -e stop || sleep 300"}, repeats=2, order="given")
    with pytest.raises(KeyboardInterrupt):
        experiment.run(workers=3, on_tick=interrupt)
    assert bottles_left(home) == []
    states = {run.id: run for run in experiment.runs()}
    assert states["0001"].passed and states["0003"].state == "stopped"
    assert states["0003"].reason == "interrupted" and not states["0003"].counted

    def stop_again(progress: ExperimentProgress) -> None:
        if progress.count("running") == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load("demo").resume(workers=2, on_tick=stop_again)
    assert load("demo")["0003"].attempts == 2 and load("demo")["0001"].attempts == 1


_KERNEL = """
import sys
from bb_jupyter.experiment import Experiment
Experiment("demo", prompts="sleep 0.3; echo done", workspace=sys.argv[1], backend="bubblewrap", repeats=12).run(
    workers=2, on_tick=lambda p: print(p.count("passed"), p.count("running"), flush=True)
)
"""


def kernel(project: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _KERNEL, str(project)], stdout=subprocess.PIPE, text=True)


def test_a_kernel_that_crashes_loses_nothing_that_was_finished(new: New, project: Path, home: Path) -> None:
    with kernel(project) as crashing:
        assert crashing.stdout is not None
        for line in crashing.stdout:
            passed, running = map(int, line.split())
            if passed >= 3 and running:
                break
        crashing.kill()
    experiment = load("demo")
    before = {run.id: run.finished for run in experiment.runs() if run.counted}
    assert 3 <= len(before) < 12
    experiment.resume()
    after = {run.id: run.finished for run in experiment.runs() if run.passed}
    assert len(after) == 12 and before.items() <= after.items()


def test_two_kernels_share_one_experiment(new: New, project: Path) -> None:
    with kernel(project) as one, kernel(project) as two:
        counts = [process.communicate(timeout=_PATIENCE)[0] for process in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0], counts
    runs = load("demo").runs()
    assert len(runs) == 12 and all(run.passed and run.attempts == 1 for run in runs)
    assert len({run.outcome.facts["worker"] for run in runs if run.outcome}) == 2


def test_a_stop_from_another_thread_is_an_interrupt(new: New) -> None:
    """What the notebook's interrupt does, in the place where it does it: the main thread waits for runs."""
    begun = threading.Event()

    def tell(progress: ExperimentProgress) -> None:
        if progress.count("running"):
            begun.set()

    threading.Thread(target=lambda: begun.wait(_PATIENCE) and os.kill(os.getpid(), signal.SIGINT), daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        new(prompts="sleep 300").run(on_tick=tell)
