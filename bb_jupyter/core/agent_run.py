"""One run of an agent in a bottle: its events while it works, and its result."""

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
from bb_jupyter.text.visible import last_line


@dataclass(frozen=True)
class AgentResult:
    """The result of an agent's run.

    Attributes:
        answer: the agent's answer, in Markdown; hostile text.
        events: what the agent did; streamed pieces of text are joined.
        usage: tokens, turns and cost.
        returncode: 0 on success, else the exit status; 1 when the agent reported a failure and exited with 0.
        duration: seconds.
        changed: files below the working directory that are new, changed or deleted, sorted; `None` when unknown.
        session: name of the conversation, for `resume`.
        interrupted: the user ended the run.
        timed_out: the time limit ended the run.
        dropped: number of events that are missing in `events` because there were too many.
        log: file with the agent's whole output, unchanged; it does not exist when there was none.
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
        """Whether the run succeeded."""
        return self.returncode == 0

    @property
    def cost(self) -> float | None:
        """US dollars; `None` when the agent does not report them."""
        return self.usage.cost

    @property
    def failure(self) -> str:
        """Why the run failed; empty after a success."""
        failures = [event.message for event in self.events if isinstance(event, Failure) and not event.retrying]
        return failures[-1] if failures and not self.ok else ""


class AgentRun:
    """A run of an agent.  Iterate it for events, or `wait` for the result; leaving it early ends the agent.

    Args:
        execution: the agent's command.
        provider: parses the command's output.
        log: file with the command's whole output.
        interrupt: asks the agent to end, and returns when it has ended.
        changed: returns the changed files; called once the agent has ended.
        on_end: is called with the result.
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
        """Whether there is no result yet."""
        return self._result is None

    def poll(self, timeout: float | None = None) -> Sequence[AgentEvent]:
        """Wait for events.

        Args:
            timeout: seconds; `None` to wait until there is an event or the run ends.

        Returns:
            The new events; none when the time passed or the run ended (see `running`).

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
        """Read to the end and return the result.

        Raises:
            BottleGone: the bottle died or was stopped meanwhile.
            KeyboardInterrupt: the user interrupted; the agent has ended, and `result` is set.
        """
        for _ in self:
            pass
        return self.result

    @property
    def result(self) -> AgentResult:
        """The run's result.

        Raises:
            UsageError: the run has not ended.
        """
        if self._result is None:
            raise UsageError("the agent is still at work", hint="wait() for it, or kill() it.")
        return self._result

    def kill(self) -> None:
        """End the agent and all its processes; earlier output can still be read.  Thread-safe.  Idempotent."""
        if self._result is None and not self._interrupted:
            self._interrupted = True
            self._interrupt()
        self._execution.kill()

    def close(self) -> None:
        """End the agent if it still works; `result.interrupted` is then true.  Idempotent."""
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
        except Exception as error:  # a user's provider may fail on the output of a newer agent
            return [Other(f"unreadable: {type(error).__name__}", line)]

    def _end(self) -> list[AgentEvent]:
        """Set the result; return the last events."""
        completed = self._execution.wait()
        last = [event for line in self._lines.finish() for event in self._parse(line)]
        last += self._kept.finish()
        last += self._close_transcript(completed)
        self._result = self._result_of(completed)
        self._on_end(self._result)
        return last

    def _close_transcript(self, completed: Completed) -> list[AgentEvent]:
        """Make every transcript end in one answer or one failure, whatever the agent printed last."""
        end: AgentEvent | None = None
        if completed.timed_out:
            end = Failure(f"the time limit ended it after {completed.duration:.0f} s")
        elif self._interrupted:
            end = Failure(f"interrupted after {completed.duration:.0f} s")
        elif completed.returncode and not self._kept.failure:
            end = Failure(last_line(completed.stderr, f"exit status {completed.returncode}"))
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
