"""One call of `run`: submits the missing runs to an executor, follows them, and keeps to the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from bb_jupyter.errors import BottleError
from bb_jupyter.experiment.budget import Meter, Spent
from bb_jupyter.experiment.definition import RunSpec
from bb_jupyter.experiment.executors import ExecutorAdapter
from bb_jupyter.experiment.job import Job
from bb_jupyter.experiment.record import RunOutcome
from bb_jupyter.experiment.store import Store

#: Seconds between two looks at the runs.
_TICK = 0.2
#: After this many lost runs without a result between them, the host is taken to be unable to execute runs.
MOST_LOST = 5
_RESUME = "Mend that, then go on with resume()."


@dataclass(frozen=True)
class ExperimentProgress:
    """How far an experiment is.

    Attributes:
        states: run → `waiting`, `running`, `passed`, `failed` or `stopped`.
        seconds: since this call began.
        left: estimate of the remaining seconds; `None` before the first result.
        stopping: why the call ends early; empty when it does not.
    """

    states: Mapping[str, str]
    seconds: float
    left: float | None = None
    stopping: str = ""

    def count(self, *states: str) -> int:
        """Return how many runs are in any of these states."""
        return sum(state in states for state in self.states.values())


OnTick = Callable[[ExperimentProgress], object]


@dataclass
class Scheduler:
    """One call of `run`, `resume` or `rerun`.

    Attributes:
        store: the experiment's store.
        adapter: where runs are executed.
        job_of: makes the job of a run.
        meter: watches the budget of the experiment.
        on_tick: is called a few times a second, on the calling thread.
        stopping: why the call ends early; empty when it does not.
    """

    store: Store
    adapter: ExecutorAdapter
    job_of: Callable[[RunSpec], Job]
    meter: Meter
    on_tick: OnTick = lambda progress: None
    stopping: str = ""
    _pending: dict[Future[Any], str] = field(default_factory=dict)
    _done: int = 0
    _due: float = 0.0
    _lost: list[str] = field(default_factory=list)

    def run(self, specs: Iterator[RunSpec]) -> None:
        """Execute runs until none is left.

        Args:
            specs: runs to execute; the iterator claims each one when it is asked for it.

        Raises:
            BottleError: the last `MOST_LOST` runs were lost.
            KeyboardInterrupt: the user interrupted; every run has ended.
        """
        try:
            self._keep_to_budget()  # an earlier call may have used it up
            while self._submit(specs) or self._pending:
                self._follow()
        except BaseException as error:
            self.stop("interrupted" if isinstance(error, KeyboardInterrupt) else "the experiment failed")
            raise
        finally:
            while not self._ended():
                pass
            with suppress(KeyboardInterrupt):
                self._report(always=True)
        if self._lost and not self._done:
            raise _no_result(self._lost)

    def stop(self, reason: str) -> None:
        """End the runs and begin no more.  Idempotent."""
        if not self.stopping:
            self.stopping = reason
            self.adapter.cancel(reason)

    def _submit(self, specs: Iterator[RunSpec]) -> bool:
        """Submit runs up to the adapter's slots; return whether there may be more to do."""
        while not self.stopping and len(self._pending) < self.adapter.slots:
            spec = next(specs, None)
            if spec is None:
                return False
            job = replace(self.job_of(spec), egress_left=self._spending().egress_left)
            try:
                self._pending[self.adapter.submit(job)] = spec.id
            except RuntimeError as error:  # such as concurrent.futures.BrokenExecutor
                raise BottleError(f"the executor takes no more runs: {error}", hint=_RESUME) from None
        return not self.stopping

    def _ended(self) -> bool:
        """Wait for the runs and close the adapter; return false when interrupted, and call again: no bottle stays."""
        try:
            while self._pending:
                self._follow()
            self.adapter.close()
        except KeyboardInterrupt:
            return False
        return True

    def _follow(self) -> None:
        finished, _ = wait(self._pending, _TICK, FIRST_COMPLETED)
        for future in finished:
            self._end(self._pending.pop(future), future)
        self.adapter.tick()
        self._keep_to_budget()
        self._report()

    def _spending(self) -> Meter:
        """Return the experiment's meter with what unfinished runs have used added."""
        return replace(self.meter, spent=self.meter.spent + self.adapter.usage())

    def _keep_to_budget(self) -> None:
        if used := self._spending().over():
            self.stop(f"the experiment is {used}")

    def _end(self, run: str, future: Future[Any]) -> None:
        try:
            outcome = self.adapter.collect(run, future)
        except (Exception, CancelledError) as error:
            outcome = RunOutcome.lost(self.stopping or f"{type(error).__name__}: {error}")
            self.store.lose(run, outcome.reason)
        self.meter.spent += Spent.of(outcome)
        self._keep_to_budget()
        if outcome.counted:
            self._done += 1
            self._lost.clear()
        elif not self.stopping:
            self._lost.append(outcome.reason)
            if len(self._lost) >= MOST_LOST:
                self.stop("too many runs were lost")
                raise _no_result(self._lost)

    def _report(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if now < self._due and not always:
            return
        states = self.store.states()
        # Reading the states of a large grid takes time: at most a tenth of the whole.
        self._due = time.monotonic() + 9 * (time.monotonic() - now)
        seconds = time.monotonic() - self.meter.began
        missing = sum(state in ("waiting", "running") for state in states.values())
        left = seconds / self._done * missing if self._done else None
        self.on_tick(ExperimentProgress(states, seconds, 0.0 if self.stopping else left, self.stopping))


def _no_result(reasons: list[str]) -> BottleError:
    many = f"{len(reasons)} runs" if len(reasons) > 1 else "the run"
    return BottleError(f"{many} gave no result: {reasons[-1]}", hint=_RESUME)
