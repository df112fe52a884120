"""A snapshot of a bubblewrap bottle's home: a tar file beside its state, which other bottles start with.

The content of the file is hostile: this host stores it and never reads it.  Each bottle unpacks it inside itself.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Protocol

from bb_jupyter.backend import state
from bb_jupyter.backend.bottle import branch_plan
from bb_jupyter.backend.bubblewrap.bottle_plan import BubblewrapBottlePlan
from bb_jupyter.backend.bubblewrap.pipes import Feeder, from_file
from bb_jupyter.backend.execution import Execution, StdoutFile
from bb_jupyter.errors import BackendUnavailable, BottleGone
from bb_jupyter.text.visible import last_line

_BUFFER = 1 << 20
#: How many names the warning shows.
_SHOWN = 5

# Skips the entries that cannot be read, and prints their names.
_PACK = """
import os, sys, tarfile
def add(archive, path):
    try:
        archive.add(path, recursive=False)
        return os.path.isdir(path) and not os.path.islink(path) and sorted(os.listdir(path)) or ()
    except OSError:
        print(ascii(path), file=sys.stderr)
        return ()
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
    left = ["."]
    while left:
        path = left.pop()
        left += [os.path.join(path, name) for name in add(archive, path)]
"""
_UNPACK = """
import sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
    archive.extraction_filter = lambda member, path: member
    archive.extractall(".", numeric_owner=True)
"""


class _Bottle(Protocol):
    """The part of `BubblewrapBottle` that is used here."""

    plan: BubblewrapBottlePlan

    @property
    def name(self) -> str: ...

    @property
    def slug(self) -> str: ...

    @property
    def alive(self) -> bool: ...

    def gone(self) -> BottleGone: ...

    def run_python(self, program: str, *arguments: str, stdin: Feeder | None = None) -> Execution: ...


@contextmanager
def snapshot(bottle: _Bottle) -> Iterator[BubblewrapBottlePlan]:
    """Keep a copy of the home of *bottle*; see `Bottle.snapshot`."""
    with ExitStack() as stack:
        try:
            folder = state.state_dir() / bottle.slug
            file = stack.enter_context(tempfile.NamedTemporaryFile(dir=folder, suffix=".tar"))
            complaints = _pack(bottle, file)
        except OSError as error:
            raise _cannot(bottle.name, error.strerror or str(error)) if bottle.alive else bottle.gone() from None
        plan = branch_plan(bottle.plan)
        warnings = plan.warnings + _left_out(bottle.name, complaints)
        yield replace(plan, home_archive=Path(file.name), warnings=warnings)


def _pack(bottle: _Bottle, file: IO[bytes]) -> bytes:
    """Write the home to *file*; return the names of unreadable entries, a line each."""
    with bottle.run_python(_PACK) as packing:
        shutil.copyfileobj(StdoutFile(packing), file, _BUFFER)
        done = packing.wait()
    file.flush()
    if done.returncode:
        raise _cannot(bottle.name, last_line(done.stderr))
    return done.stderr


def restore(bottle: _Bottle, archive: Path) -> None:
    """Unpack *archive* in the home of a fresh bottle.

    Raises:
        BackendUnavailable: it does not fit.
        BottleGone: the bottle died.
    """
    try:
        with archive.open("rb") as file:
            done = bottle.run_python(_UNPACK, stdin=from_file(file)).wait()
    except OSError as error:  # the other bottle was stopped meanwhile
        raise _cannot(bottle.plan.branch_of, error.strerror or str(error)) from None
    if done.returncode:
        raise _cannot(bottle.plan.branch_of, last_line(done.stderr))


def _left_out(name: str, complaints: bytes) -> tuple[str, ...]:
    lines = complaints.decode("ascii", "replace").splitlines()
    if not lines:
        return ()
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return (f"not copied from '{name}', because unreadable there: {', '.join(lines[:_SHOWN])}{more}",)


def _cannot(name: str, why: str) -> BackendUnavailable:
    return BackendUnavailable(f"cannot branch '{name}': {why}")
