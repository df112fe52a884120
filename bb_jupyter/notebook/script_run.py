"""One script running in a bottle: shown while it runs, its log closed, its failure told."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bb_jupyter.backend.execution import Completed, Execution
from bb_jupyter.core.agent_run import AgentResult
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.logs import MAX_LOG
from bb_jupyter.errors import CommandFailed
from bb_jupyter.manifest import about_size
from bb_jupyter.notebook.egress_notices import EgressNotices
from bb_jupyter.notebook.streaming import Screen, pump
from bb_jupyter.notebook.views.display import say
from bb_jupyter.process import deferred_interrupts
from bb_jupyter.text.visible import one_line


@dataclass(frozen=True)
class Script:
    """What to run.

    Attributes:
        body: for `bash -e`, or `sh -e` where there is no bash.
        env: variables beside the bottle's.
        cwd: working directory; empty for the bottle's.
        user: user in the bottle; empty for the bottle's.
        timeout: seconds; `None` for the bottle's limit.
        cap: most bytes of output to show.
    """

    body: str
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    user: str = ""
    timeout: float | None = None
    cap: int = 1 << 20


@dataclass(frozen=True)
class CellResult:
    """How the script of a cell ended.

    Attributes:
        returncode: its exit status; 128 + N when signal N ended it, 124 when its time limit did.
        stdout: its output as text, undecodable bytes replaced; head and tail when it was more than 8 MiB.
        stderr: the same of its standard error.
        duration: seconds.
        log: file with both as they were written; missing when there was no output.
        truncated: bytes missing from `stdout` and `stderr`.
        timed_out: its time limit ended it.
        interrupted: the user did.
    """

    returncode: int
    stdout: str = field(repr=False)
    stderr: str = field(repr=False)
    duration: float
    log: Path
    truncated: int = 0
    timed_out: bool = False
    interrupted: bool = False

    @classmethod
    def of(cls, completed: Completed, log: Path) -> CellResult:
        """Return the result of a command that ended."""
        return cls(
            returncode=completed.returncode,
            stdout=completed.stdout.decode("utf-8", "replace"),
            stderr=completed.stderr.decode("utf-8", "replace"),
            duration=completed.duration,
            log=log,
            truncated=completed.truncated,
            timed_out=completed.timed_out,
            interrupted=completed.killed and not completed.timed_out,
        )

    @property
    def ok(self) -> bool:
        """Whether it ended with exit status 0."""
        return self.returncode == 0


class Running:
    """A script that has been started; one thread shows it.

    Args:
        held: the bottle.
        script: what to run in it.

    Raises:
        BottleGone: the bottle died or was stopped.
        UsageError: the script is too long, or its user unknown.
    """

    def __init__(self, handle: BottleHandle, script: Script) -> None:
        self.name = handle.name
        self._notices = EgressNotices(handle)
        try:
            self._execution, self._log = handle.run(
                script.body, env=script.env, cwd=script.cwd or None, user=script.user or None, timeout=script.timeout
            )
        except BaseException:
            self._notices.finish()
            raise
        self._screen = Screen(sys.stdout, sys.stderr, cap=script.cap, log=self._log.path)

    def show(self) -> CellResult:
        """Show the output until the script ends.

        An interrupt kills the script and nothing else; what it still wrote is shown, and the result says `interrupted`.

        Raises:
            BottleGone: the bottle died or was stopped while the script ran; its output so far is shown.
        """
        with self._execution as execution:
            try:
                self._pump(execution)
            finally:
                with deferred_interrupts.defer_sigint():
                    self._log.close()
                    self._screen.finish([*self._cut_log(), *self._notices.finish()])
            return CellResult.of(execution.wait(), self._log.path)

    def kill(self) -> None:
        """Kill the script.  Any thread may; the one in `show` then returns.  Idempotent."""
        self._execution.kill()

    def _cut_log(self) -> list[str]:
        if not self._log.full:
            return []
        return [f"⋯ the log is not whole: the disk is full, or it has {about_size(MAX_LOG)}: {self._log.path}"]

    def _pump(self, execution: Execution) -> None:
        try:
            pump(execution, self._screen, self._notices)
        except KeyboardInterrupt:
            with deferred_interrupts.defer_sigint(same=True):
                execution.kill()
                pump(execution, self._screen, self._notices)


class Work(Protocol):
    """What a cell started in a bottle: a script, or an agent at a prompt."""

    name: str

    def show(self) -> CellResult | AgentResult:
        """Show it until it ends."""

    def kill(self) -> None:
        """End it, and nothing else."""


def check(name: str, result: CellResult | AgentResult) -> None:
    """Raise when a cell's work did not end well.

    Raises:
        KeyboardInterrupt: the user interrupted it.
        CommandFailed: its exit status is not 0.
    """
    if result.interrupted:
        raise KeyboardInterrupt(f"{name}: interrupted {_after(result)}; the bottle runs on")
    if result.timed_out:
        raise CommandFailed(_timed_out(name, result), returncode=result.returncode)
    if not result.ok:
        why = one_line(result.failure) if isinstance(result, AgentResult) else _status(result.returncode)
        raise CommandFailed(f"{name}: {why} {_after(result)}", returncode=result.returncode)


def tell(name: str, result: CellResult | AgentResult) -> None:
    """Say in a cell that succeeds whatever its work did (`--no-raise-error`) when that is not all there would be."""
    if result.timed_out:
        say(_timed_out(name, result))


def _timed_out(name: str, result: CellResult | AgentResult) -> str:
    return f"{name}: timed out {_after(result)}; the bottle runs on"


def _after(result: CellResult | AgentResult) -> str:
    return f"after {result.duration:.{1 if result.duration >= 1 else 2}f} s"


def _status(returncode: int) -> str:
    try:
        return f"exit status {returncode} ({signal.Signals(returncode - 128).name})"
    except ValueError:
        return f"exit status {returncode}"
