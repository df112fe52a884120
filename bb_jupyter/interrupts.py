"""Keep an interrupt from coming between the making of something and the note of how to undo it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held() -> Iterator[None]:
    """Let an interrupt (SIGINT) wait until the block is left; for short blocks only.

    Python raises `KeyboardInterrupt` between any two steps of the main thread: also after something was started and
    before it is known to anybody who would end it.  On other threads, which are never interrupted, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread() or not callable(signal.getsignal(signal.SIGINT)):
        yield
        return
    came = []
    usual = signal.signal(signal.SIGINT, lambda *arguments: came.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if came and callable(usual):
            usual(*came[0])
