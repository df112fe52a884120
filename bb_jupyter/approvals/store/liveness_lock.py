"""Whether a bottle's broker lives: it holds a lock for as long as it does, and the kernel lets it go when it dies."""

from __future__ import annotations

import fcntl
import os
import time
from typing import Final

from bb_jupyter.approvals.store.storage import Folder

_LOCK: Final = "broker.lock"
#: How often, and after how many seconds, the lock is tried again.
_TRIES: Final = 20
_PAUSE: Final = 0.05


class LivenessLock:
    """Held by the broker of a bottle.

    Args:
        slug: the bottle's.

    Raises:
        BlockingIOError: another broker of this bottle lives.
        OSError: the folder cannot be written.
    """

    def __init__(self, slug: str) -> None:
        folder = Folder(slug)
        folder.create()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        self._descriptor = os.open(folder.path / _LOCK, flags, 0o600)
        try:
            _lock(self._descriptor)
        except OSError:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Let it go; idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _lock(descriptor: int) -> None:
    """Take the lock, past those who only look whether somebody has it."""
    for _ in range(_TRIES):
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_alive(slug: str) -> bool:
    """Return whether the broker of a bottle lives."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(Folder(slug).path / _LOCK, flags)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
