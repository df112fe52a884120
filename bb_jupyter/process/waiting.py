"""Wait until something is true: the one place in the package that looks again and again.

A condition about files is checked when the kernel reports a change of them (inotify(7)), and once a second in case a
report is lost or the file system sends none, as NFS does.  A condition about anything else, or about files that cannot
be watched, is checked every twentieth of a second.

inotify is called through ctypes, which takes 3 ms to import at the first wait; `watchfiles` took 90 ms, and a thread
for each watcher.  A user may have few inotify instances (`fs.inotify.max_user_instances`, often 128), so an instance
exists only while somebody waits, and an event loop has one for all its waits.
"""

from __future__ import annotations

import os
import select
import time
import weakref
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

if TYPE_CHECKING:
    import asyncio  # 25 ms: imported by those who wait in an event loop

T = TypeVar("T")
Paths = Iterable[str | os.PathLike[str]]

#: Seconds between two checks: where changes are reported, and where they are not.
TICK: Final = 1.0
POLL: Final = 0.05

#: What is reported of a watched folder or file, from <sys/inotify.h>: IN_MODIFY, IN_CLOSE_WRITE, IN_MOVED_FROM,
#: IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF.  IN_CLOSE_WRITE also reports that a process which
#: held a lock on a file has died, for its descriptors are closed then.
_MASK: Final = 0x2 | 0x8 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x800
_CHUNK: Final = 1 << 16


def wait_until(condition: Callable[[], T], *, timeout: float | None = None, paths: Paths = (), poll: float = POLL) -> T:
    """Wait on this thread until a condition is true.

    Args:
        condition: called on this thread, at once and after each change.
        timeout: seconds to wait; ``None`` for ever.
        paths: files and folders (with their direct entries) whose change may make it true.
        poll: seconds between two checks where no change is reported: without *paths*, or when one of them cannot be
            watched.

    Returns:
        What the condition returned last: something true, or something false after *timeout* seconds.
    """
    end = None if timeout is None else time.monotonic() + timeout
    wanted = [os.fspath(path) for path in paths]
    if not wanted:
        while not (found := condition()) and (left := _left(end, poll)) > 0:
            time.sleep(left)
        return found
    if found := condition():
        return found  # nothing to wait for, nothing to watch
    with FileChanges(wanted) as changes:
        while not (found := condition()) and (left := _left(end, TICK if changes.covers(wanted) else poll)) > 0:
            changes.wait(left)
        return found


async def wait_until_async(
    condition: Callable[[], T], *, timeout: float | None = None, paths: Paths = (), poll: float = POLL
) -> T:
    """Wait in an event loop until a condition is true; see `wait_until`."""
    import asyncio

    end = None if timeout is None else time.monotonic() + timeout
    wanted = [os.fspath(path) for path in paths]
    if not wanted:
        while not (found := condition()) and (left := _left(end, poll)) > 0:
            await asyncio.sleep(left)
        return found
    if found := condition():
        return found
    shared = _shared(asyncio.get_running_loop())
    changed = shared.join(wanted)
    try:
        while not (found := condition()) and (left := _left(end, TICK if shared.covers(wanted) else poll)) > 0:
            await _first(changed, left)
        return found
    finally:
        shared.leave(changed)


def _left(end: float | None, tick: float) -> float:
    return tick if end is None else min(tick, end - time.monotonic())


async def _first(changed: asyncio.Event, timeout: float) -> None:
    """Wait for an event, at most *timeout* seconds, and clear it."""
    import asyncio

    try:
        async with asyncio.timeout(timeout):
            await changed.wait()
    except TimeoutError:
        return
    changed.clear()


class FileChanges:
    """Changes of files and folders as the kernel reports them: one inotify instance, closed as the block is left.

    Args:
        paths: files and folders to watch; of a folder its direct entries.
    """

    def __init__(self, paths: Paths = ()) -> None:
        self._descriptor = _inotify("init1", os.O_NONBLOCK | os.O_CLOEXEC)
        self._paths: tuple[str, ...] = ()
        self._watches: dict[str, int] = {}
        self.watch(paths)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def watch(self, paths: Paths) -> None:
        """Watch these paths from now on, and no others; those that do not exist yet are tried again by `drain`."""
        self._paths = tuple(os.fspath(path) for path in paths)
        for path in self._watches.keys() - {*self._paths}:
            _inotify("rm_watch", self._descriptor, self._watches.pop(path))
        self._renew()

    def _renew(self) -> None:
        """Watch what came into being; to watch the same thing again changes nothing."""
        for path in self._paths:
            watch = _inotify("add_watch", self._descriptor, os.fsencode(path), _MASK)
            if watch < 0:
                self._watches.pop(path, None)
            else:
                self._watches[path] = watch

    def covers(self, paths: Iterable[str]) -> bool:
        """Return whether all these paths are watched."""
        return all(path in self._watches for path in paths)

    def fileno(self) -> int:
        """Return the descriptor that is readable when something has changed; negative when nothing can be watched."""
        return self._descriptor

    def wait(self, timeout: float) -> None:
        """Wait until something has changed, at most *timeout* seconds; changes since the last wait count."""
        if self._descriptor < 0:
            return time.sleep(timeout)
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.poll(timeout * 1000)
        self.drain()

    def drain(self) -> None:
        """Forget what was reported so far, and watch the paths that exist by now."""
        try:
            while len(os.read(self._descriptor, _CHUNK)) > _CHUNK // 2:
                pass
        except OSError:  # nothing more to read
            pass
        self._renew()

    def close(self) -> None:
        """Watch nothing any more.  Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _Shared:
    """The waits of one event loop: each is woken by every change, and checks its own condition.  Made in the loop."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Event, list[str]] = {}
        self._changes: FileChanges | None = None

    def join(self, paths: list[str]) -> asyncio.Event:
        """Watch *paths*, too; return what is set after each change."""
        import asyncio

        changed = asyncio.Event()
        self._waiting[changed] = paths
        if self._changes is None:
            self._changes = FileChanges()
            if self._changes.fileno() >= 0:
                asyncio.get_running_loop().add_reader(self._changes, self._wake)
        self._watch(self._changes)
        return changed

    def leave(self, changed: asyncio.Event) -> None:
        """Forget a wait; after the last one nothing is watched."""
        del self._waiting[changed]
        if self._changes is None:
            return
        if self._waiting:
            return self._watch(self._changes)
        import asyncio

        if self._changes.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._changes)
        self._changes.close()
        self._changes = None

    def covers(self, paths: list[str]) -> bool:
        """Return whether all these paths are watched."""
        return self._changes is not None and self._changes.covers(paths)

    def _watch(self, changes: FileChanges) -> None:
        changes.watch(dict.fromkeys(path for paths in self._waiting.values() for path in paths))

    def _wake(self) -> None:
        if self._changes is not None:
            self._changes.drain()
        for changed in self._waiting:
            changed.set()


_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Shared] = weakref.WeakKeyDictionary()


def _shared(loop: asyncio.AbstractEventLoop) -> _Shared:
    """Return the waits of an event loop."""
    return _loops.setdefault(loop, _Shared())


def _inotify(name: str, *arguments: int | bytes) -> int:
    """Call ``inotify_<name>``; return its result, which is negative when it failed or this system has no such call."""
    call = getattr(_libc(), f"inotify_{name}", None)
    return int(call(*arguments)) if call else -1


@cache
def _libc() -> Any:  # noqa: ANN401 -- a library as ctypes has it
    import ctypes

    return ctypes.CDLL(None)
