"""A lock that a bottle's broker holds while it lives; the operating system releases it when the broker dies."""

from __future__ import annotations

import fcntl
import os
from typing import Final

from bb_jupyter.approvals.store.storage import Folder
from bb_jupyter.process.waiting import wait_until

_LOCK: Final = "broker.lock"
#: Seconds to try for the lock: a process that only checks for a broker holds it for a moment.
_PATIENCE: Final = 1.0


class LivenessLock:
    """The lock, held by the broker of a bottle until it is closed.

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
            if not wait_until(lambda: _lock(self._descriptor), timeout=_PATIENCE):
                raise BlockingIOError("another process holds the lock")
        except BaseException:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Release it.  Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _lock(descriptor: int) -> bool:
    """Take the lock; return whether it was free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
