"""Where runs are done: threads of this process, any other executor on this host, or a cluster.

What differs is how a run's news come back and how it is cancelled.  On this host every run writes its own record, in
whichever process it is, looks for a file that cancels it, and leaves one that tells what it has used.
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
from bb_jupyter.experiment.outcome import Outcome
from bb_jupyter.experiment.run import execute
from bb_jupyter.experiment.store import Store

#: Memory that a bottle without a limit of its own is taken to need, in bytes.
TYPICAL_MEMORY = 512 << 20
#: Files of a call: why its runs shall end, and what a run has used so far.
_STOP, _USED = "stop", ".used"
#: Bottles per processor where they have no limit of processors: agents wait for their models most of the time.
PER_CPU = 2


class Lane(ABC):
    """A way to where runs are done.

    Attributes:
        slots: how many runs to hand over at a time.
    """

    slots: int

    @abstractmethod
    def submit(self, job: Job) -> Future[Any]:
        """Hand over a run that this process has claimed."""

    @abstractmethod
    def collect(self, run: str, future: Future[Any]) -> Outcome:
        """Return how a run ended whose future is done; it is recorded then.

        Raises:
            Exception: whatever lost it, such as a worker that died.
        """

    @abstractmethod
    def cancel(self, reason: str) -> None:
        """End every run, wherever it is, and let none begin.  Idempotent; does not wait."""

    @abstractmethod
    def usage(self) -> Spent:
        """Return what the runs that go on have used so far."""

    def tick(self) -> None:  # noqa: B027 - most have nothing to do
        """Do what is due; called a few times a second."""

    @abstractmethod
    def close(self) -> None:
        """Let go of all that was prepared, everywhere.  Idempotent."""


class LocalLane(Lane):
    """Threads of this process, or an executor of the user's whose workers run on this host.

    Args:
        store: of the experiment.
        token: of this call.
        executor: the user's; `None` for threads.
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
        """See `Lane`."""
        with self._seeing_it_break():
            return self._executor.submit(run_here, self._store.folder, job)

    def collect(self, run: str, future: Future[Any]) -> Outcome:
        """See `Lane`; what a run has used whose worker died stays used."""
        with self._seeing_it_break():
            outcome: Outcome = future.result()
        (self._call / f"{run}{_USED}").unlink(missing_ok=True)
        self._used.pop(f"{run}{_USED}", None)
        return outcome

    def cancel(self, reason: str) -> None:
        """See `Lane`."""
        self._call.mkdir(exist_ok=True)
        (self._call / _STOP).write_text(reason)

    def usage(self) -> Spent:
        """See `Lane`."""
        for path in self._call.glob(f"*{_USED}"):
            with suppress(OSError, ValueError):  # it is just being written
                self._used[path.name] = Spent(**json.loads(path.read_text()))
        return sum(self._used.values(), Spent())

    def close(self) -> None:
        """See `Lane`."""
        if self._own is not None:
            self._own.shutdown(cancel_futures=True)
        else:
            if self._broken:
                self._executor.shutdown()  # it ends its other workers, too: what those had is left by the dead then
            current().cleanup()  # what a worker left that died
        provisioning.release(self._token)
        shutil.rmtree(self._call, ignore_errors=True)

    @contextmanager
    def _seeing_it_break(self) -> Iterator[None]:
        try:
            yield
        except BrokenExecutor:
            self._broken = True
            raise


class HereWatch:
    """Follows a run on the host that has the record, by files: its worker may be another process."""

    def __init__(self, folder: Path, job: Job) -> None:
        self._call, self._run = _call(folder, job.token), job.spec.id

    def events(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """See `Watch`; the record has them already."""

    def used(self, spent: Spent) -> None:
        """See `Watch`."""
        with suppress(OSError):
            self._call.mkdir(exist_ok=True)
            (self._call / f"{self._run}{_USED}").write_text(json.dumps(asdict(spent)))

    def cancelled(self) -> str:
        """See `Watch`."""
        with suppress(OSError):
            return (self._call / _STOP).read_text() or "stopped"
        return ""


#: Whether this process is the copy of one that had threads, which it has not; set as it is forked.
_half = False


def _forking() -> None:
    global _half
    _half = threading.active_count() > 1


def _forked_not() -> None:
    global _half
    _half = False


os.register_at_fork(before=_forking, after_in_parent=_forked_not)


def run_here(folder: Path, job: Job) -> Outcome:
    """Do a run on the host that has the record, and write it there.

    Raises:
        UsageError: this process was forked by one with threads, such as a kernel: what they held is held for ever.
    """
    if _half:
        raise UsageError(
            "runs cannot be done in processes that a kernel has forked",
            hint="ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn')), or no executor: threads do.",
        )
    store, watch = Store(folder), HereWatch(folder, job)
    if reason := watch.cancelled():
        store.unclaim(job.spec.id)
        return Outcome.lost(reason)
    attempt = uuid.uuid4().hex
    outcome = execute(job, store.begin(job.spec.id, attempt), watch)
    store.finish(job.spec.id, attempt, outcome)
    return outcome


def lane(executor: object, store: Store, token: str, definition: Definition, workers: int) -> Lane:
    """Return the way to an executor.

    Args:
        executor: `None` for threads here; any `concurrent.futures.Executor` of this host; or a `distributed.Client`.
        store: of the experiment.
        token: of this call.
        definition: of the experiment, for what a bottle needs.
        workers: how many runs at a time; 0 to find out.

    Raises:
        UsageError: it is none of these, or no number of workers.
    """
    if workers < 0:
        raise UsageError(f"cannot do {workers} runs at a time", hint="0 is for as many as fit.")
    if is_cluster(executor):
        from bb_jupyter.experiment.cluster import ClusterLane

        return ClusterLane(executor, store, token, workers)
    if executor is None:
        return LocalLane(store, token, None, workers or capacity(definition))
    if not isinstance(executor, Executor):
        raise UsageError(f"not an executor: {type(executor).__name__}", hint="Any concurrent.futures.Executor is one.")
    return LocalLane(store, token, executor, workers or getattr(executor, "_max_workers", 0) or os.cpu_count() or 1)


def is_cluster(executor: object) -> bool:
    """Whether it is dask's, so that runs are done on other hosts."""
    return type(executor).__module__.partition(".")[0] == "distributed"


def capacity(definition: Definition) -> int:
    """Return how many bottles this host carries at a time: by its processors, its free memory, and their limits."""
    limits = definition.resources
    cpus = len(os.sched_getaffinity(0))
    by_cpu = cpus / limits.cpus if limits.cpus else cpus * PER_CPU
    by_memory = _free_memory() * 0.8 / (limits.memory or TYPICAL_MEMORY)
    return max(1, int(min(by_cpu, by_memory)))


def _free_memory() -> int:
    """Return the memory that is available: of this host, or of this process' group where that has less (cgroup v2)."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")), 4 << 30)
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        free = min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return free


def _call(folder: Path, token: str) -> Path:
    """Return where the runs of one call and who made it tell each other."""
    return folder / f".call-{token}"
