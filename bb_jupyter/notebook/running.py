"""One script running in a bottle: shown while it runs, its log closed, its failure told."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from bb_jupyter.backend.execution import Execution
from bb_jupyter.errors import CommandFailed
from bb_jupyter.logs import CellLog
from bb_jupyter.notebook.result import CellResult
from bb_jupyter.notebook.streaming import Screen, pump
from bb_jupyter.session import HeldBottle


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


class Running:
    """A script that has been started; one thread shows it.

    Args:
        held: the bottle.
        script: what to run in it.

    Raises:
        BottleGone: the bottle died or was stopped.
        UsageError: the script is too long, or its user unknown.
    """

    def __init__(self, held: HeldBottle, script: Script) -> None:
        self.name = held.name
        self._execution, self._log = held.run(
            script.body, env=script.env, cwd=script.cwd or None, user=script.user or None, timeout=script.timeout
        )
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
                _finish(self._screen, self._log)
            return CellResult.of(execution.wait(), self._log.path)

    def kill(self) -> None:
        """Kill the script.  Any thread may; the one in `show` then returns.  Idempotent."""
        self._execution.kill()

    def _pump(self, execution: Execution) -> None:
        try:
            pump(execution, self._screen)
        except KeyboardInterrupt:
            execution.kill()
            pump(execution, self._screen)


def check(name: str, result: CellResult) -> None:
    """Raise when a script did not end well.

    Raises:
        KeyboardInterrupt: the user interrupted it.
        CommandFailed: its exit status is not 0.
    """
    after = f"after {result.duration:.{1 if result.duration >= 1 else 2}f} s"
    if result.interrupted:
        raise KeyboardInterrupt(f"{name}: interrupted {after}; the bottle runs on")
    if result.timed_out:
        raise CommandFailed(f"{name}: timed out {after}; the bottle runs on", returncode=result.returncode)
    if not result.ok:
        raise CommandFailed(f"{name}: {_status(result.returncode)} {after}", returncode=result.returncode)


def _status(returncode: int) -> str:
    try:
        return f"exit status {returncode} ({signal.Signals(returncode - 128).name})"
    except ValueError:
        return f"exit status {returncode}"


def _finish(screen: Screen, log: CellLog) -> None:
    log.close()
    screen.finish()
