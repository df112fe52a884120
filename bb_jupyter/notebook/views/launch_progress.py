"""A launch in a cell: the preflight, the progress while it takes time, and one line at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bb_jupyter.backend.base import Progress
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.notebook import kernel
from bb_jupyter.notebook.views.display import publish, say, show_plan
from bb_jupyter.text.table import escaped
from bb_jupyter.text.visible import one_line

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

#: Seconds between two updates of the progress, and before the first one: a quick launch shows no progress.
INTERVAL = 0.2


def launch(session: Session, name: str, options: LaunchOptions) -> BottleHandle:
    """Launch a bottle and show the progress.

    Raises:
        BottleError: the bottle cannot be launched.
        KeyboardInterrupt: the user interrupted the launch; nothing is left behind.
    """
    progress = _RichProgress(name) if kernel.is_rich() else _PlainProgress(name)
    try:
        handle = session.launch(name, options, on_plan=show_plan, on_progress=progress.step)
    except BaseException:
        progress.end(f"{name} was not launched")
        raise
    progress.end(f"launched {name} in {progress.seconds:.2f} s", always=True)
    return handle


class _PlainProgress:
    """Print each step and each line of the log once."""

    def __init__(self, name: str) -> None:
        self._started = time.monotonic()
        self._stage = ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def step(self, progress: Progress) -> None:
        if progress.line:
            say(f"{progress.stage}: {one_line(progress.line)}")

    def end(self, text: str, *, always: bool = False) -> None:
        if always:
            say(text)


class _RichProgress(_PlainProgress):
    """Show one display, which is updated during the launch and is a plain line at the end."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(name)
        self._name = name
        self._clock = clock
        self._due = clock() + INTERVAL
        self._display: DisplayHandle | None = None
        self._line = ""

    def step(self, progress: Progress) -> None:
        self._line = progress.line or self._line
        now = self._clock()
        if now >= self._due:
            self._due = now + INTERVAL
            self._show(f"{self._name}: {progress.stage} {one_line(self._line)}", self._markup(progress))

    def end(self, text: str, *, always: bool = False) -> None:
        if self._display is not None or always:
            self._show(text, escaped(text))

    def _markup(self, progress: Progress) -> str:
        bar = (
            f'<progress max="{progress.total}" value="{progress.done}"></progress>'
            if progress.total
            else "<progress></progress>"
        )
        line = f"<br><code>{escaped(self._line[-200:])}</code>" if self._line else ""
        return f"{escaped(self._name)}: {escaped(progress.stage)} {bar}{line}"

    def _show(self, text: str, markup: str) -> None:
        self._display = publish(text, markup, self._display)
