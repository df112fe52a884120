"""From the runs that are missing to the runs that are done: hands them over, follows them, keeps to the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from bb_jupyter.errors import BottleError
from bb_jupyter.experiment.budget import Meter, Spent
from bb_jupyter.experiment.executors import Lane
from bb_jupyter.experiment.grid import RunSpec
from bb_jupyter.experiment.job import Job
from bb_jupyter.experiment.outcome import Outcome
from bb_jupyter.experiment.store import Store

#: Seconds between two looks at what is due.
_TICK = 0.2
#: So many runs lost one after the other, none of them a result, mean that this host cannot run them.
MOST_LOST = 5
_RESUME = "When that is mended, resume() goes on."


@dataclass(frozen=True)
class Progress:
    """How far an experiment is.

    Attributes:
        states: run → `waiting`, `running`, `passed`, `failed` or `stopped`.
        seconds: since this call began.
        left: about how many seconds are left; `None` before anything is known.
        stopping: why it comes to its end early; empty when it does not.
    """

    states: Mapping[str, str]
    seconds: float
    left: float | None = None
    stopping: str = ""

    def count(self, *states: str) -> int:
        """Return how many runs are in any of these states."""
        return sum(state in states for state in self.states.values())


OnTick = Callable[[Progress], object]


@dataclass
class Drive:
    """One call of `run`, `resume` or `rerun`.

    Attributes:
        store: of the experiment.
        lane: where runs are done.
        job_of: makes a run's job.
        meter: of the whole.
        on_tick: is told a few times a second, on this thread.
        stopping: why the call comes to its end early; empty when it does not.
    """

    store: Store
    lane: Lane
    job_of: Callable[[RunSpec], Job]
    meter: Meter
    on_tick: OnTick = lambda progress: None
    stopping: str = ""
    _pending: dict[Future[Any], str] = field(default_factory=dict)
    _done: int = 0
    _due: float = 0.0
    _lost: list[str] = field(default_factory=list)

    def run(self, specs: Iterator[RunSpec]) -> None:
        """Do runs until there are none left.

        Args:
            specs: runs that this process has claimed, one by one; each is claimed when it is asked for.

        Raises:
            BottleError: run after run is lost.
            KeyboardInterrupt: the user interrupted it; every run has ended.
        """
        try:
            self._keep_to_budget()  # an earlier call may have used it up
            while self._hand_over(specs) or self._pending:
                self._follow()
        except BaseException as error:
            self.stop("interrupted" if isinstance(error, KeyboardInterrupt) else "the experiment failed")
            raise
        finally:
            while not self._ended():
                pass
            with suppress(KeyboardInterrupt):
                self._tell(always=True)
        if self._lost and not self._done:
            raise _no_result(self._lost)

    def stop(self, reason: str) -> None:
        """End what goes on and begin nothing more.  Idempotent."""
        if not self.stopping:
            self.stopping = reason
            self.lane.cancel(reason)

    def _hand_over(self, specs: Iterator[RunSpec]) -> bool:
        """Fill the lane; return whether there may be more to do."""
        while not self.stopping and len(self._pending) < self.lane.slots:
            spec = next(specs, None)
            if spec is None:
                return False
            job = replace(self.job_of(spec), egress_left=self._spending().egress_left)
            try:
                self._pending[self.lane.submit(job)] = spec.id
            except RuntimeError as error:  # such as concurrent.futures.BrokenExecutor
                raise BottleError(f"the executor takes no more runs: {error}", hint=_RESUME) from None
        return not self.stopping

    def _ended(self) -> bool:
        """Wait for what goes on, and let go of everything; one more interrupt does not leave bottles behind."""
        try:
            while self._pending:
                self._follow()
            self.lane.close()
        except KeyboardInterrupt:
            return False
        return True

    def _follow(self) -> None:
        finished, _ = wait(self._pending, _TICK, FIRST_COMPLETED)
        for future in finished:
            self._end(self._pending.pop(future), future)
        self.lane.tick()
        self._keep_to_budget()
        self._tell()

    def _spending(self) -> Meter:
        """Return the meter of the whole with what goes on in it, too."""
        return replace(self.meter, spent=self.meter.spent + self.lane.usage())

    def _keep_to_budget(self) -> None:
        if used := self._spending().over():
            self.stop(f"the experiment is {used}")

    def _end(self, run: str, future: Future[Any]) -> None:
        try:
            outcome = self.lane.collect(run, future)
        except (Exception, CancelledError) as error:
            outcome = Outcome.lost(self.stopping or f"{type(error).__name__}: {error}")
            self.store.lose(run, outcome.reason)
        self.meter.spent += spent_in(outcome)
        self._keep_to_budget()
        if outcome.counted:
            self._done += 1
            self._lost.clear()
        elif not self.stopping:
            self._lost.append(outcome.reason)
            if len(self._lost) >= MOST_LOST:
                self.stop("run after run was lost")
                raise _no_result(self._lost)

    def _tell(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if now < self._due and not always:
            return
        states = self.store.states()
        # Of a large grid this takes time: never more than a tenth of it all.
        self._due = time.monotonic() + 9 * (time.monotonic() - now)
        seconds = time.monotonic() - self.meter.began
        missing = sum(state in ("waiting", "running") for state in states.values())
        left = seconds / self._done * missing if self._done else None
        self.on_tick(Progress(states, seconds, 0.0 if self.stopping else left, self.stopping))


def spent_in(outcome: Outcome) -> Spent:
    """Return what a run that ended has used."""
    used, net = outcome.usage, outcome.egress
    tokens = (used.get("input_tokens") or 0) + (used.get("output_tokens") or 0)
    return Spent(int(tokens), used.get("cost") or 0.0, net.get("up", 0) + net.get("down", 0))


def _no_result(reasons: list[str]) -> BottleError:
    many = f"{len(reasons)} runs" if len(reasons) > 1 else "the run"
    return BottleError(f"{many} gave no result: {reasons[-1]}", hint=_RESUME)
