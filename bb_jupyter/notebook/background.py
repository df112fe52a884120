"""`--bg`: a script that runs on while other cells do; its output stays under the cell that started it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bb_jupyter.core.agent_run import AgentResult
from bb_jupyter.errors import BottleError
from bb_jupyter.notebook.error_display import message
from bb_jupyter.notebook.kernel import start_thread
from bb_jupyter.notebook.script_run import CellResult, Work, check, tell


class BackgroundRun:
    """A script in the background: the value of `--out` with `--bg`.

    Args:
        running: the script; it is shown by a thread of its own from now on.
        tell: show below the output when the script failed.
        after: called when it ended, whichever way.
    """

    def __init__(self, running: Work, *, tell: bool, after: Callable[[], object]) -> None:
        self._running = running
        self._tell, self._after = tell, after
        self._result: CellResult | AgentResult | None = None
        self._error: BaseException | None = None
        self._thread = start_thread(self._show, f"bottle {running.name}")

    @property
    def name(self) -> str:
        """The bottle's name."""
        return self._running.name

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def wait(self, timeout: float | None = None) -> CellResult | AgentResult:
        """Wait for its end.

        Args:
            timeout: most seconds to wait; `None` for as long as it takes.

        Returns:
            How it ended; a script that failed is returned too.

        Raises:
            TimeoutError: it still runs.
            BottleGone: its bottle died or was stopped.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"{self.name}: still running")
        if self._result is None:
            raise self._error or BottleError(f"{self.name}: ended without a result")
        return self._result

    def kill(self) -> None:
        """Kill the script; the bottle runs on.  Idempotent."""
        self._running.kill()

    def __repr__(self) -> str:
        if not self.done:
            return f"<background run in {self.name}: running>"
        return f"<background run in {self.name}: {self._result or 'ended with its bottle'}>"

    def _show(self) -> None:
        try:
            try:
                self._result = self._running.show()
            finally:
                self._after()
            if self._tell:
                check(self.name, self._result)
            tell(self.name, self._result)
        except (Exception, KeyboardInterrupt) as error:
            self._error = error
            sys.stderr.write(message(error) + "\n")
            sys.stderr.flush()
