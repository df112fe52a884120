"""Descriptors for a command in a bottle.

They are pipes and memory files, never files of the host: the command could reopen such a file for writing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import IO

Feeder = Callable[[IO[bytes]], object]
_BUFFER = 1 << 20


def pipe(ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
    """Make a pipe whose read end *ours* closes and whose write end *theirs* closes."""
    read, write = os.pipe()
    ours.callback(os.close, read)
    theirs.callback(os.close, write)
    return read, write


def memory_file(stack: ExitStack, data: bytes) -> int:
    """Return a descriptor from which *data* can be read, of any size; *stack* closes it."""
    fd = os.memfd_create("input")
    stack.callback(os.close, fd)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def fed_pipe(stack: ExitStack, feeder: Feeder) -> int:
    """Return the read end of a pipe that *feeder* fills from a thread of its own; *stack* closes it."""
    read, write = os.pipe()
    stack.callback(os.close, read)
    threading.Thread(target=_feed, args=(write, feeder), daemon=True, name="bottle-stdin").start()
    return read


def from_file(source: IO[bytes]) -> Feeder:
    """Return a feeder that copies *source*."""
    return lambda target: shutil.copyfileobj(source, target, _BUFFER)


def _feed(fd: int, feeder: Feeder) -> None:
    # The command may end, or the bottle die, before it has read everything.
    with contextlib.suppress(BrokenPipeError), open(fd, "wb", buffering=_BUFFER) as target:
        feeder(target)
