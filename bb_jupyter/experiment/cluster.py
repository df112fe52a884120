"""Runs on the workers of a dask cluster, each of which launches bottles on its own host.

Everything goes by dask's own connections.  Inputs are tasks, so that the scheduler makes them again where a worker
that had them died; a run whose worker died is begun again elsewhere, by dask, under the name of another attempt, and
what the lost attempt still says is not heard.  News come as events of a topic; files and outcome come back with the
result, and are written where the experiment's record is.
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
from bb_jupyter.experiment.executors import Lane
from bb_jupyter.experiment.job import Job
from bb_jupyter.experiment.outcome import Outcome
from bb_jupyter.experiment.run import execute
from bb_jupyter.experiment.store import Store

if TYPE_CHECKING:
    from distributed import Client, Worker
    from distributed.cfexecutor import ClientExecutor

#: Seconds between two looks at which workers there are, and until a worker's runs must have ended after a stop.
_LOOK, _END = 2.0, 60.0
#: Runs that are handed over for each thread of the cluster: a worker that ends one finds the next.
_AHEAD = 2
#: Most bytes of one file that travel.
_MOST_FILE = 32 << 20
#: What a run gives back: its attempt, how it ended, and its files.
Result = tuple[str, Outcome, dict[str, bytes]]


class ClusterLane(Lane):
    """A cluster.

    Args:
        executor: a `distributed.Client`, or what its `get_executor` returns.
        store: of the experiment.
        token: of this call.
        slots: how many runs to hand over at a time; 0: twice as many as the cluster has threads.

    Raises:
        UsageError: it is neither.
    """

    def __init__(self, executor: object, store: Store, token: str, slots: int = 0) -> None:
        self._executor: Any
        self._client: Any  # dask's methods have no types
        self._executor, self._client = _of(executor)
        self._store, self._token, self._fixed = store, token, slots
        self._news: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self._files: dict[str, object] = {}
        self._futures: dict[str, Future[Any]] = {}
        self._attempts: dict[str, str] = {}
        self._spent: dict[str, Spent] = {}
        self._reason, self._looked = "", float("-inf")
        self._client.subscribe_topic(token, lambda event: self._news.put(json.loads(event[1])))
        self.slots = 1
        self.tick()

    def submit(self, job: Job) -> Future[Any]:
        """See `Lane`."""
        wanted = {*job.workspaces.values(), *job.tests.values()}
        files = {digest: self._file(job.inputs / f"{digest}.tar", digest) for digest in wanted}
        key = f"bottle-run-{self._token}-{job.spec.id}"
        future: Future[Any] = self._executor.submit(run_there, job, files, key=key, pure=False)
        self._futures[job.spec.id] = future
        return future

    def _file(self, path: Path, digest: str) -> object:
        if digest not in self._files:
            key = f"bottle-input-{self._token}-{digest}"
            self._files[digest] = self._client.submit(_same, path.read_bytes(), key=key)
        return self._files[digest]

    def collect(self, run: str, future: Future[Any]) -> Outcome:
        """See `Lane`."""
        self._hear()
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
        """See `Lane`."""
        return sum(self._spent.values(), Spent())

    def tick(self) -> None:
        """Hear the news, and look how many workers there are; who joined after a stop is told of it."""
        self._hear()
        now = time.monotonic()
        if now < self._looked + _LOOK:
            return
        self._looked = now
        self.slots = self._fixed or max(1, _AHEAD * sum(self._client.nthreads().values()))
        if self._reason:
            self._everywhere(stop_there, self._token, self._reason)

    def cancel(self, reason: str) -> None:
        """See `Lane`."""
        self._reason = self._reason or reason
        self._everywhere(stop_there, self._token, self._reason)
        for run, future in self._futures.items():
            if run not in self._attempts:
                future.cancel()

    def close(self) -> None:
        """See `Lane`; waits until no worker has a bottle of this call any more, those of dead workers included."""
        self._everywhere(leave, self._token)
        with suppress(Exception):
            self._client.unsubscribe_topic(self._token)
        self._files.clear()

    def _hear(self) -> None:
        with suppress(Empty):
            while True:
                self._take(self._news.get_nowait())

    def _take(self, news: dict[str, Any]) -> None:
        run, attempt = news["run"], news["attempt"]
        if run not in self._futures:
            return  # it has been collected
        if news["kind"] == "begin":
            self._attempts[run] = attempt
            self._store.begin(run, attempt)
        elif self._attempts.get(run) != attempt:
            return
        elif news["kind"] == "used":
            self._spent[run] = Spent(**news["spent"])
        else:
            with (self._store.run_folder(run) / "events.jsonl").open("a", encoding="utf-8") as file:
                file.writelines(f"{json.dumps(event)}\n" for event in news["events"])

    def _everywhere(self, function: Any, *arguments: object) -> None:  # noqa: ANN401 - a function, or a coroutine's
        with suppress(OSError, ValueError, TimeoutError):  # a cluster without workers has nothing to be told
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


def _same(data: bytes) -> bytes:
    return data


# What follows runs on workers.

_lock = threading.Condition()
_stopped: dict[str, str] = {}
_live: dict[str, int] = {}


class ThereWatch:
    """Follows a run on a worker."""

    def __init__(self, worker: Worker, job: Job, attempt: str) -> None:
        self._worker, self._token = worker, job.token
        self._about = {"run": job.spec.id, "attempt": attempt}

    def tell(self, kind: str, **more: object) -> None:
        """Send news."""
        self._worker.log_event(self._token, json.dumps({**self._about, "kind": kind, **more}, default=str))

    def events(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """See `Watch`."""
        self.tell("events", events=batch)

    def used(self, spent: Spent) -> None:
        """See `Watch`."""
        self.tell("used", spent=asdict(spent))

    def cancelled(self) -> str:
        """See `Watch`."""
        return _stopped.get(self._token, "")


def run_there(job: Job, files: Mapping[str, bytes]) -> Result:
    """Do a run on a worker."""
    from distributed import get_worker

    attempt = uuid.uuid4().hex
    watch = ThereWatch(get_worker(), job, attempt)
    if reason := watch.cancelled():
        return attempt, Outcome.lost(reason), {}
    with _lock:
        _live[job.token] = _live.get(job.token, 0) + 1
    try:
        watch.tell("begin")
        with tempfile.TemporaryDirectory(prefix="bb-run-") as folder:
            outcome = execute(replace(job, inputs=provisioning.keep(job.token, files)), Path(folder), watch)
            return attempt, outcome, {path.name: _beginning(path) for path in Path(folder).iterdir()}
    finally:
        with _lock:
            _live[job.token] -= 1
            _lock.notify_all()


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_FILE)


def stop_there(token: str, reason: str) -> None:
    """Let the runs of a call end, on a worker."""
    _stopped[token] = reason


async def leave(token: str) -> None:
    """Wait until a worker has no run of a call any more; then remove what was prepared, and what dead workers left."""
    await asyncio.to_thread(_leave, token)


def _leave(token: str) -> None:
    _stopped.setdefault(token, "the experiment is over")
    with _lock:
        _lock.wait_for(lambda: not _live.get(token), _END)
    provisioning.release(token)
    current().cleanup()
    _live.pop(token, None)
