"""Defer interrupts while a resource is acquired and its release registered, and while it is released."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType, TracebackType

#: Seconds after which interrupts are not deferred any more: the block hangs, and the user wants to leave it.
_PATIENCE = 10.0


@contextmanager
def defer_sigint(*, same: bool = False) -> Iterator[None]:
    """Defer an interrupt (SIGINT) until the block is left; after 10 seconds a further one leaves the block at once.

    Python raises `KeyboardInterrupt` between any two steps of the main thread, also between starting a process and
    registering who ends it.  On other threads, which are never interrupted, this does nothing.

    Args:
        same: the block handles an interrupt already: further ones are the same interrupt, and are dropped.
    """
    if threading.current_thread() is not threading.main_thread() or not callable(signal.getsignal(signal.SIGINT)):
        yield
        return
    pending: list[tuple[int, FrameType | None]] = []
    begun = time.monotonic()

    def wait(number: int, frame: FrameType | None) -> None:
        pending.append((number, frame))
        if time.monotonic() - begun > _PATIENCE and callable(usual):
            usual(*pending.pop())

    usual = signal.signal(signal.SIGINT, wait)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if pending and not same and callable(usual):
            usual(*pending[0])


class UninterruptibleExitStack(ExitStack[bool | None]):
    """An exit stack that defers interrupts while it is unwound.

    A user may press Stop twice because the first time takes a moment; the second must not cut off the clean-up of the
    first.  No exception is swallowed.
    """

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """Unwind; see `ExitStack`."""
        with defer_sigint():
            super().__exit__(kind, error, traceback)
