"""A script that runs in a bottle: its output, its result, and the error of a failed one."""

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
    """A script to run.

    Attributes:
        body: run by `bash -e`, or by `sh -e` in a bottle without bash.
        env: environment variables, in addition to the bottle's.
        cwd: working directory; empty for the bottle's.
        user: user who runs it; empty for the bottle's.
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
    """How the script of a cell ended: the value of `--out`.

    Attributes:
        returncode: exit status; 128 + N if signal N ended the script, 124 if the time limit did.
        stdout: standard output as text, with undecodable bytes replaced; head and tail of more than 8 MiB.
        stderr: standard error, in the same way.
        duration: seconds.
        log: file with both, unchanged; it does not exist if there was no output.
        truncated: number of bytes missing from `stdout` and `stderr`.
        timed_out: the time limit ended the script.
        interrupted: the user ended the script.
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
        """Return the result of *completed*, whose output is in *log*."""
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
        """Whether the exit status is 0."""
        return self.returncode == 0


class Running:
    """A script that has been started; one thread shows it.

    Args:
        handle: the bottle.
        script: the script to run in it.

    Raises:
        BottleGone: the bottle died or was stopped.
        UsageError: the script is too long, or its user does not exist.
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

        An interrupt kills the script and nothing else; its remaining output is shown, and the result is `interrupted`.

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
        """Kill the script, from any thread; `show` then returns.  Idempotent."""
        self._execution.kill()

    def _cut_log(self) -> list[str]:
        if not self._log.full:
            return []
        return [
            f"⋯ the log is incomplete: the disk is full, or the log has reached {about_size(MAX_LOG)}: {self._log.path}"
        ]

    def _pump(self, execution: Execution) -> None:
        try:
            pump(execution, self._screen, self._notices)
        except KeyboardInterrupt:
            with deferred_interrupts.defer_sigint(same=True):
                execution.kill()
                pump(execution, self._screen, self._notices)


class Work(Protocol):
    """Work that a cell started in a bottle: a script, or an agent with a prompt."""

    name: str

    def show(self) -> CellResult | AgentResult:
        """Show the work until it ends."""

    def kill(self) -> None:
        """End the work, and nothing else."""


def check(name: str, result: CellResult | AgentResult) -> None:
    """Raise if the work of a cell failed.

    Raises:
        KeyboardInterrupt: the user interrupted the work.
        CommandFailed: the exit status is not 0, or the time limit ended the work.
    """
    if result.interrupted:
        raise KeyboardInterrupt(f"{name}: interrupted {_after(result)}; the bottle keeps running")
    if result.timed_out:
        raise CommandFailed(_timed_out(name, result), returncode=result.returncode)
    if not result.ok:
        why = one_line(result.failure) if isinstance(result, AgentResult) else _status(result.returncode)
        raise CommandFailed(f"{name}: {why} {_after(result)}", returncode=result.returncode)


def say_timeout(name: str, result: CellResult | AgentResult) -> None:
    """Print that the time limit ended the work: a cell with `--no-raise-error` raises nothing."""
    if result.timed_out:
        say(_timed_out(name, result))


def _timed_out(name: str, result: CellResult | AgentResult) -> str:
    return f"{name}: timed out {_after(result)}; the bottle keeps running"


def _after(result: CellResult | AgentResult) -> str:
    return f"after {result.duration:.{1 if result.duration >= 1 else 2}f} s"


def _status(returncode: int) -> str:
    try:
        return f"exit status {returncode} ({signal.Signals(returncode - 128).name})"
    except ValueError:
        return f"exit status {returncode}"
