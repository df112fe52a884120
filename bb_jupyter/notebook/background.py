"""`--bg`: a script that keeps running while other cells run; its output appears under the cell that started it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bb_jupyter.core.agent_run import AgentResult
from bb_jupyter.errors import BottleError
from bb_jupyter.notebook.error_display import message
from bb_jupyter.notebook.kernel import start_thread
from bb_jupyter.notebook.script_run import CellResult, Work, check, say_timeout


class BackgroundRun:
    """A script or an agent in the background: the value of `--out` with `--bg`.

    Args:
        work: what runs; a new thread shows it.
        report_failure: whether a failure is shown below the output.
        after: called when the work has ended, in every case.
    """

    def __init__(self, work: Work, *, report_failure: bool, after: Callable[[], object]) -> None:
        self._work = work
        self._report_failure, self._after = report_failure, after
        self._result: CellResult | AgentResult | None = None
        self._error: BaseException | None = None
        self._thread = start_thread(self._show, f"bottle {work.name}")

    @property
    def name(self) -> str:
        """The bottle's name."""
        return self._work.name

    @property
    def done(self) -> bool:
        """Whether the work has ended."""
        return not self._thread.is_alive()

    def wait(self, timeout: float | None = None) -> CellResult | AgentResult:
        """Wait for the end of the work.

        Args:
            timeout: most seconds to wait; `None` for no limit.

        Returns:
            The result, also of a script that failed.

        Raises:
            TimeoutError: the work is still running.
            BottleGone: the bottle died or was stopped.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"{self.name}: still running")
        if self._result is None:
            raise self._error or BottleError(f"{self.name}: ended without a result")
        return self._result

    def kill(self) -> None:
        """Kill the script; the bottle keeps running.  Idempotent."""
        self._work.kill()

    def __repr__(self) -> str:
        if not self.done:
            return f"<background run in {self.name}: running>"
        return f"<background run in {self.name}: {self._result or 'ended with its bottle'}>"

    def _show(self) -> None:
        try:
            try:
                self._result = self._work.show()
            finally:
                self._after()
            if self._report_failure:
                check(self.name, self._result)
            say_timeout(self.name, self._result)
        except (Exception, KeyboardInterrupt) as error:
            self._error = error
            sys.stderr.write(message(error) + "\n")
            sys.stderr.flush()
