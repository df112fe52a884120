"""Keep an interrupt from coming between the making of something and the note of how to undo it, or into the undoing."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType

#: Seconds after which an interrupt waits no more: something hangs, and who presses Stop again wants out.
_PATIENCE = 10.0


@contextmanager
def defer_sigint(*, same: bool = False) -> Iterator[None]:
    """Let an interrupt (SIGINT) wait until the block is left; for short blocks, and one that hangs can be left.

    Python raises `KeyboardInterrupt` between any two steps of the main thread: also after something was started and
    before it is known to anybody who would end it.  On other threads, which are never interrupted, this does nothing.

    Args:
        same: an interrupt is being obeyed here: who presses Stop again means that one, and there is no second.
    """
    if threading.current_thread() is not threading.main_thread() or not callable(signal.getsignal(signal.SIGINT)):
        yield
        return
    came: list[tuple[int, FrameType | None]] = []
    begun = time.monotonic()

    def wait(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))
        if time.monotonic() - begun > _PATIENCE and callable(usual):
            usual(*came.pop())

    usual = signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if came and not same and callable(usual):
            usual(*came[0])


class UninterruptibleExitStack(ExitStack[bool | None]):
    """An exit stack that is unwound to its end: an interrupt that comes meanwhile waits for it.

    Who presses Stop twice, because the first time takes a moment, must not cut off what the first one began.  No
    exception is swallowed.
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Unwind; see `ExitStack`."""
        with defer_sigint():
            super().__exit__(kind, error, traceback)
