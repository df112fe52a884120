"""Runs on the workers of a dask cluster.  Each worker launches bottles on its own host.

All data travels on dask's own connections.  Inputs are tasks, so the scheduler recomputes them when a worker that had
them dies.  When a run's worker dies, dask begins the run again on another worker as a new attempt; later messages of
the lost attempt are ignored.  A run reports by events of a dask topic.  Its files and outcome come back as the task's
result, and are written on the host of the experiment's store.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from bb_jupyter.core.session import current
from bb_jupyter.errors import UsageError
from bb_jupyter.experiment import provisioning
from bb_jupyter.experiment.budget import Spent
from bb_jupyter.experiment.executors import ExecutorAdapter
from bb_jupyter.experiment.job import Job
from bb_jupyter.experiment.record import RunOutcome
from bb_jupyter.experiment.run import execute
from bb_jupyter.experiment.store import Store

if TYPE_CHECKING:
    from distributed import Client, Worker
    from distributed.cfexecutor import ClientExecutor

#: Seconds between two counts of the workers, and seconds that a worker's runs may take to end after a cancellation.
_LOOK, _END = 2.0, 60.0
#: Runs that are submitted for each thread of the cluster, so that a worker need not wait for its next run.
_AHEAD = 2
#: Most bytes of one file that a worker sends.
_MOST_FILE = 32 << 20
#: Result of a run: its attempt, its outcome, and its files.
Result = tuple[str, RunOutcome, dict[str, bytes]]


class ClusterAdapter(ExecutorAdapter):
    """A dask cluster.

    Args:
        executor: a `distributed.Client`, or the result of its `get_executor`.
        store: the experiment's store.
        token: identifies this call.
        slots: how many runs to have submitted at a time; 0 for twice the cluster's number of threads.

    Raises:
        UsageError: *executor* is neither.
    """

    def __init__(self, executor: object, store: Store, token: str, slots: int = 0) -> None:
        self._executor: Any
        self._client: Any  # dask's methods have no types
        self._executor, self._client = _of(executor)
        self._store, self._token, self._fixed = store, token, slots
        self._messages: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._files: dict[str, object] = {}
        self._futures: dict[str, Future[Any]] = {}
        self._attempts: dict[str, str] = {}
        self._spent: dict[str, Spent] = {}
        self._reason, self._looked = "", float("-inf")
        self._client.subscribe_topic(token, lambda event: self._messages.put(json.loads(event[1])))
        self.slots = 1
        self.tick()

    def submit(self, job: Job) -> Future[Any]:
        """See `ExecutorAdapter`."""
        wanted = {*job.workspaces.values(), *job.tests.values()}
        files = {digest: self._file(job.inputs / f"{digest}.tar", digest) for digest in wanted}
        key = f"bottle-run-{self._token}-{job.spec.id}"
        future: Future[Any] = self._executor.submit(run_on_worker, job, files, key=key, pure=False)
        self._futures[job.spec.id] = future
        return future

    def _file(self, path: Path, digest: str) -> object:
        if digest not in self._files:
            key = f"bottle-input-{self._token}-{digest}"
            self._files[digest] = self._client.submit(_identity, path.read_bytes(), key=key)
        return self._files[digest]

    def collect(self, run: str, future: Future[Any]) -> RunOutcome:
        """See `ExecutorAdapter`."""
        self._receive()
        self._futures.pop(run, None)
        result: Result = future.result()
        attempt, outcome, files = result
        self._spent.pop(run, None)
        self._attempts.pop(run, None)
        folder = self._store.begin(run, attempt, again=False)
        for name, data in files.items():
            (folder / Path(name).name).write_bytes(data)
        self._store.finish(run, attempt, outcome)
        return outcome

    def usage(self) -> Spent:
        """See `ExecutorAdapter`."""
        return sum(self._spent.values(), Spent())

    def tick(self) -> None:
        """Read messages, and count the workers; a worker that joined after a cancellation is told to stop."""
        self._receive()
        now = time.monotonic()
        if now < self._looked + _LOOK:
            return
        self._looked = now
        self.slots = self._fixed or max(1, _AHEAD * sum(self._client.nthreads().values()))
        if self._reason:
            self._everywhere(cancel_on_worker, self._token, self._reason)

    def cancel(self, reason: str) -> None:
        """See `ExecutorAdapter`."""
        self._reason = self._reason or reason
        self._everywhere(cancel_on_worker, self._token, self._reason)
        for run, future in self._futures.items():
            if run not in self._attempts:
                future.cancel()

    def close(self) -> None:
        """See `ExecutorAdapter`; waits until no worker has a bottle of this call, dead workers' bottles included."""
        self._everywhere(release_on_worker, self._token)
        with suppress(Exception):
            self._client.unsubscribe_topic(self._token)
        self._files.clear()

    def _receive(self) -> None:
        with suppress(Empty):
            while True:
                self._take(self._messages.get_nowait())

    def _take(self, message: dict[str, Any]) -> None:
        run, attempt = message["run"], message["attempt"]
        if run not in self._futures:
            return  # the run has been collected
        if message["kind"] == "begin":
            self._attempts[run] = attempt
            self._store.begin(run, attempt)
        elif self._attempts.get(run) != attempt:
            return
        elif message["kind"] == "used":
            self._spent[run] = Spent(**message["spent"])
        else:
            with (self._store.run_folder(run) / "events.jsonl").open("a", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(event)}\n" for event in message["events"])

    def _everywhere(self, function: Any, *arguments: object) -> None:  # noqa: ANN401 - a function or coroutine function
        with suppress(OSError, ValueError, TimeoutError):  # a cluster without workers has nobody to run it
            self._client.run(function, *arguments, on_error="ignore")


def _of(executor: Any) -> tuple[ClientExecutor, Client]:  # noqa: ANN401 - dask's methods have no types
    from distributed import Client
    from distributed.cfexecutor import ClientExecutor

    if isinstance(executor, Client):
        if executor.asynchronous:
            raise UsageError("the dask client is asynchronous", hint="Make one with Client(..., asynchronous=False).")
        return executor.get_executor(), executor  # type: ignore[no-untyped-call]
    if isinstance(executor, ClientExecutor):
        return executor, executor._client
    raise UsageError(f"not an executor: {type(executor).__name__}", hint="Give a Client or client.get_executor().")


def _identity(data: bytes) -> bytes:
    return data


# The rest runs on workers.

_lock = threading.Condition()
_stopped: dict[str, str] = {}
_live: dict[str, int] = {}


class ClusterWatcher:
    """Follows a run on a worker."""

    def __init__(self, worker: Worker, job: Job, attempt: str) -> None:
        self._worker, self._token = worker, job.token
        self._about = {"run": job.spec.id, "attempt": attempt}

    def send(self, kind: str, **more: object) -> None:
        """Send a message to the experiment's host."""
        self._worker.log_event(self._token, json.dumps({**self._about, "kind": kind, **more}, default=str))

    def events(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """See `RunWatcher`."""
        self.send("events", events=batch)

    def used(self, spent: Spent) -> None:
        """See `RunWatcher`."""
        self.send("used", spent=asdict(spent))

    def cancelled(self) -> str:
        """See `RunWatcher`."""
        return _stopped.get(self._token, "")


def run_on_worker(job: Job, files: Mapping[str, bytes]) -> Result:
    """Execute a run on a worker."""
    from distributed import get_worker

    attempt = uuid.uuid4().hex
    watcher = ClusterWatcher(get_worker(), job, attempt)
    if reason := watcher.cancelled():
        return attempt, RunOutcome.lost(reason), {}
    with _lock:
        _live[job.token] = _live.get(job.token, 0) + 1
    try:
        watcher.send("begin")
        with tempfile.TemporaryDirectory(prefix="bb-run-") as folder:
            outcome = execute(replace(job, inputs=provisioning.keep(job.token, files)), Path(folder), watcher)
            return attempt, outcome, {path.name: _beginning(path) for path in Path(folder).iterdir()}
    finally:
        with _lock:
            _live[job.token] -= 1
            _lock.notify_all()


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_FILE)


def cancel_on_worker(token: str, reason: str) -> None:
    """Cancel the runs of a call on a worker."""
    _stopped[token] = reason


async def release_on_worker(token: str) -> None:
    """Wait until a worker has no run of a call; then remove what it prepared, and what dead workers left."""
    await asyncio.to_thread(_release, token)


def _release(token: str) -> None:
    _stopped.setdefault(token, "the experiment is over")
    with _lock:
        _lock.wait_for(lambda: not _live.get(token), _END)
    provisioning.release(token)
    current().cleanup()
    _live.pop(token, None)
