"""One run of an agent in a bottle: its events as they come, and what is left at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from bb_jupyter.agent.events import AgentEvent, Failure, Final, Other, Usage
from bb_jupyter.agent.provider import AgentProvider
from bb_jupyter.agent.transcript import Lines, Transcript
from bb_jupyter.backend.execution import Completed, Execution
from bb_jupyter.errors import BottleError, UsageError


@dataclass(frozen=True)
class AgentResult:
    """What an agent's run left.

    Attributes:
        answer: its last word, in Markdown; hostile text.
        events: what it did; pieces of streamed text are put together.
        usage: tokens, turns and cost.
        returncode: 0 when all went well, else the exit status; 1 where the agent reports a failure and ends with 0.
        duration: seconds.
        changed: files below the working directory that are new, changed or gone, sorted; `None` if that is unknown.
        session: names the conversation, for `resume`.
        interrupted: the user ended it.
        timed_out: its time limit did.
        dropped: events that were left out of `events` because there were too many.
        log: file with all that the agent printed, as it printed it; missing when that was nothing.
    """

    answer: str
    events: tuple[AgentEvent, ...] = field(repr=False)
    usage: Usage
    returncode: int
    duration: float
    changed: tuple[str, ...] | None = None
    session: str = ""
    interrupted: bool = False
    timed_out: bool = False
    dropped: int = 0
    log: Path = field(default_factory=Path, repr=False)

    @property
    def ok(self) -> bool:
        """Whether all went well."""
        return self.returncode == 0

    @property
    def cost(self) -> float | None:
        """US dollars; `None` when the agent does not say."""
        return self.usage.cost

    @property
    def failure(self) -> str:
        """Why it did not go well; empty when it did."""
        failures = [event.message for event in self.events if isinstance(event, Failure) and not event.retrying]
        return failures[-1] if failures and not self.ok else ""


class AgentRun:
    """A run of an agent.  Iterate it for events, or `wait` for the result; leaving it early ends the agent.

    Args:
        execution: the agent's command.
        provider: understands what it prints.
        log: file that gets all of its output.
        interrupt: tells the agent to end, and returns when it has.
        changed: returns the changed files once the agent has ended.
        on_end: gets the result.
    """

    def __init__(
        self,
        execution: Execution,
        provider: AgentProvider,
        *,
        log: Path = Path(),
        interrupt: Callable[[], object] = lambda: None,
        changed: Callable[[], tuple[str, ...] | None] = lambda: None,
        on_end: Callable[[AgentResult], object] = lambda result: None,
    ) -> None:
        self._execution = execution
        self._provider = provider
        self._log = log
        self._interrupt = interrupt
        self._interrupted = False
        self._changed = changed
        self._on_end = on_end
        self._lines = Lines()
        self._kept = Transcript()
        self._result: AgentResult | None = None

    @property
    def running(self) -> bool:
        """Whether the end has not been read yet."""
        return self._result is None

    def poll(self, timeout: float | None = None) -> Sequence[AgentEvent]:
        """Wait up to *timeout* seconds (`None`: until there is something) for events.

        Returns:
            The events that came; none when the time passed or the run ended (see `running`).

        Raises:
            BottleGone: the bottle died or was stopped meanwhile.
        """
        if self._result is not None:
            return ()
        try:
            chunks = self._execution.poll(timeout)
        except BottleError as error:
            self._kept.add(Failure(error.message))
            self._end()
            raise
        data = b"".join(chunk.data for chunk in chunks if chunk.stream == "stdout")
        found = [event for line in self._lines.feed(data) for event in self._parse(line)]
        if not self._execution.running:
            found += self._end()
        return found

    def __iter__(self) -> Iterator[AgentEvent]:
        try:
            while self.running:
                yield from self.poll()
        finally:
            self.close()

    def wait(self) -> AgentResult:
        """Read to the end.

        Raises:
            BottleGone: the bottle died or was stopped meanwhile.
            KeyboardInterrupt: the agent has been ended; `result` has what it did.
        """
        for _ in self:
            pass
        return self.result

    @property
    def result(self) -> AgentResult:
        """What the run left.

        Raises:
            UsageError: it has not ended.
        """
        if self._result is None:
            raise UsageError("the agent is still at work", hint="wait() for it, or kill() it.")
        return self._result

    def kill(self) -> None:
        """End the agent and all it started; what it did so far can still be read.  Any thread may.  Idempotent."""
        if self._result is None and not self._interrupted:
            self._interrupted = True
            self._interrupt()
        self._execution.kill()

    def close(self) -> None:
        """End the agent when it still works; its result then says `interrupted`.  Idempotent."""
        if self._result is not None:
            return
        try:
            self.kill()
            while self.running:
                self.poll()
        finally:
            self._execution.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _parse(self, line: str) -> list[AgentEvent]:
        events = list(self._events_of(line))
        for event in events:
            self._kept.add(event)
        return events

    def _events_of(self, line: str) -> Iterable[AgentEvent]:
        try:
            return list(self._provider.parse(line))
        except Exception as error:  # a provider of the user's own may fail on what a newer agent prints
            return [Other(f"unreadable: {type(error).__name__}", line)]

    def _end(self) -> list[AgentEvent]:
        """Make the result, once; return the events that only the end brings."""
        completed = self._execution.wait()
        last = [event for line in self._lines.finish() for event in self._parse(line)]
        last += self._kept.finish()
        last += self._close_transcript(completed)
        self._result = self._result_of(completed)
        self._on_end(self._result)
        return last

    def _close_transcript(self, completed: Completed) -> list[AgentEvent]:
        """Let every transcript end in one answer or one failure, whatever the agent itself said at its end."""
        end: AgentEvent | None = None
        if completed.timed_out:
            end = Failure(f"its time limit ended it after {completed.duration:.0f} s")
        elif self._interrupted:
            end = Failure(f"interrupted after {completed.duration:.0f} s")
        elif completed.returncode and not self._kept.failure:
            end = Failure(_last_line(completed.stderr) or f"exit status {completed.returncode}")
        elif not self._kept.failure and not self._kept.final:
            end = Final(self._kept.answer)
        if end is not None:
            self._kept.add(end)
        return [end] if end is not None else []

    def _result_of(self, completed: Completed) -> AgentResult:
        return AgentResult(
            answer=self._kept.answer,
            events=tuple(self._kept.events),
            usage=self._kept.usage,
            returncode=completed.returncode or int(bool(self._kept.failure)),
            duration=completed.duration,
            changed=self._changed(),
            session=self._kept.session,
            interrupted=self._interrupted and not completed.timed_out,
            timed_out=completed.timed_out,
            dropped=self._kept.dropped,
            log=self._log,
        )


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
