"""Where runs are executed: in threads of this process, or by another executor on this host.

Every run on this host writes its own record, whichever process it is in.  Caller and run exchange two kinds of files: a
file cancels all runs of the call, and each run writes a file with what it has used.  `cluster` is the adapter for hosts
of a dask cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bb_jupyter.core.session import current
from bb_jupyter.errors import UsageError
from bb_jupyter.experiment import provisioning
from bb_jupyter.experiment.budget import Spent
from bb_jupyter.experiment.definition import Definition
from bb_jupyter.experiment.job import Job
from bb_jupyter.experiment.record import RunOutcome
from bb_jupyter.experiment.run import execute
from bb_jupyter.experiment.store import Store

#: Bytes of memory that a bottle without a limit of memory is assumed to need.
TYPICAL_MEMORY = 512 << 20
#: Names of files: the one that cancels a call's runs, and the suffix of those with what a run has used.
_STOP, _USED = "stop", ".used"
#: Bottles for each processor when they have no limit of processors: agents mostly wait for their models.
PER_CPU = 2


class ExecutorAdapter(ABC):
    """Submits runs to an executor, follows and cancels them.

    Attributes:
        slots: how many runs to have submitted at a time.
    """

    slots: int

    @abstractmethod
    def submit(self, job: Job) -> Future[Any]:
        """Submit a run that this process has claimed."""

    @abstractmethod
    def collect(self, run: str, future: Future[Any]) -> RunOutcome:
        """Record a run whose future is done, and return its outcome.

        Raises:
            Exception: the run was lost, such as by the death of its worker.
        """

    @abstractmethod
    def cancel(self, reason: str) -> None:
        """End every run, and let none begin.  Does not wait.  Idempotent."""

    @abstractmethod
    def usage(self) -> Spent:
        """Return the total that unfinished runs have used so far."""

    def tick(self) -> None:  # noqa: B027 - most adapters have nothing to do
        """Do periodic work; called a few times a second."""

    @abstractmethod
    def close(self) -> None:
        """Remove everything that was prepared for the runs, on every host.  Idempotent."""


class LocalAdapter(ExecutorAdapter):
    """Threads of this process, or a user's executor whose workers run on this host.

    Args:
        store: the experiment's store.
        token: identifies this call.
        executor: the user's executor; `None` for threads.
        slots: how many runs at a time.
    """

    def __init__(self, store: Store, token: str, executor: Executor | None, slots: int) -> None:
        self.slots = slots
        self._store, self._token = store, token
        self._call, self._used = _call(store.folder, token), dict[str, Spent]()
        self._own = ThreadPoolExecutor(slots, "bottle-run") if executor is None else None
        self._executor: Executor = executor or self._own  # type: ignore[assignment]
        self._broken = False

    def submit(self, job: Job) -> Future[Any]:
        """See `ExecutorAdapter`."""
        with self._noting_breakage():
            return self._executor.submit(run_here, self._store.folder, job)

    def collect(self, run: str, future: Future[Any]) -> RunOutcome:
        """See `ExecutorAdapter`; what a run used whose worker died still counts."""
        with self._noting_breakage():
            outcome: RunOutcome = future.result()
        (self._call / f"{run}{_USED}").unlink(missing_ok=True)
        self._used.pop(f"{run}{_USED}", None)
        return outcome

    def cancel(self, reason: str) -> None:
        """See `ExecutorAdapter`."""
        self._call.mkdir(exist_ok=True)
        (self._call / _STOP).write_text(reason)

    def usage(self) -> Spent:
        """See `ExecutorAdapter`."""
        for path in self._call.glob(f"*{_USED}"):
            with suppress(OSError, ValueError):  # it is just being written
                self._used[path.name] = Spent(**json.loads(path.read_text()))
        return sum(self._used.values(), Spent())

    def close(self) -> None:
        """See `ExecutorAdapter`."""
        if self._own is not None:
            self._own.shutdown(cancel_futures=True)
        else:
            if self._broken:
                self._executor.shutdown()  # ends the other workers, so that cleanup sees their owners dead
            current().cleanup()  # removes the bottles of dead workers
        provisioning.release(self._token)
        shutil.rmtree(self._call, ignore_errors=True)

    @contextmanager
    def _noting_breakage(self) -> Iterator[None]:
        try:
            yield
        except BrokenExecutor:
            self._broken = True
            raise


class LocalWatcher:
    """Follows a run on this host by files, because its worker may be another process."""

    def __init__(self, folder: Path, job: Job) -> None:
        self._call, self._run = _call(folder, job.token), job.spec.id

    def events(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """See `RunWatcher`; the record already has the events."""

    def used(self, spent: Spent) -> None:
        """See `RunWatcher`."""
        with suppress(OSError):
            self._call.mkdir(exist_ok=True)
            (self._call / f"{self._run}{_USED}").write_text(json.dumps(asdict(spent)))

    def cancelled(self) -> str:
        """See `RunWatcher`."""
        with suppress(OSError):
            return (self._call / _STOP).read_text() or "stopped"
        return ""


#: True in a child that was forked from a multi-threaded parent.
_forked_with_threads = False


def _before_fork() -> None:
    global _forked_with_threads
    _forked_with_threads = threading.active_count() > 1


def _after_fork_in_parent() -> None:
    global _forked_with_threads
    _forked_with_threads = False


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent)


def run_here(folder: Path, job: Job) -> RunOutcome:
    """Execute a run on the host of the experiment's store, and record it.

    Raises:
        UsageError: this process was forked from one with threads, such as a kernel; locks that those threads held are
            never released in the child.
    """
    if _forked_with_threads:
        raise UsageError(
            "runs cannot be executed in processes that were forked from a kernel",
            hint="ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn')), or no executor: threads do.",
        )
    store, watch = Store(folder), LocalWatcher(folder, job)
    if reason := watch.cancelled():
        store.unclaim(job.spec.id)
        return RunOutcome.lost(reason)
    attempt = uuid.uuid4().hex
    outcome = execute(job, store.begin(job.spec.id, attempt), watch)
    store.finish(job.spec.id, attempt, outcome)
    return outcome


def is_cluster(executor: object) -> bool:
    """Whether *executor* is dask's, so that runs are executed on other hosts."""
    return type(executor).__module__.partition(".")[0] == "distributed"


def capacity(definition: Definition) -> int:
    """Return how many bottles this host can run at a time, by processors, free memory and the bottles' limits."""
    limits = definition.resources
    cpus = len(os.sched_getaffinity(0))
    by_cpu = cpus / limits.cpus if limits.cpus else cpus * PER_CPU
    by_memory = _free_memory() * 0.8 / (limits.memory or TYPICAL_MEMORY)
    return max(1, int(min(by_cpu, by_memory)))


def _free_memory() -> int:
    """Return the available bytes of memory: the host's, or those of this process's control group (v2) if fewer."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")), 4 << 30)
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        free = min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return free


def _call(folder: Path, token: str) -> Path:
    """Return the folder by which a call of `run` and its runs exchange files."""
    return folder / f".call-{token}"
