"""State directories of bottles whose process is killed at the worst moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: Claims a name and dies while the directory is made, or while it is removed.
_DIES = """
import os, sys, time
from bb_jupyter.backend import state
from bb_jupyter.backend.owner import Owner

def die(*arguments, **more):
    os._exit(9)

record = state.BottleRecord("one-00000001", "one", "bubblewrap", Owner.current(), time.time())
if sys.argv[1] == "made":
    state.Path.rename = die
state.claim(record)
os.rmdir = die
record.remove()
"""
_GOES_ON = """
import time
from bb_jupyter.backend import state
from bb_jupyter.backend.owner import Owner

record = state.BottleRecord("two-00000002", "two", "bubblewrap", Owner.current(), time.time())
state.claim(record)
assert state.records() == [record]
record.remove()
"""


@pytest.mark.parametrize("moment", ["made", "removed"])
def test_who_is_killed_half_way_leaves_nothing_for_ever(home: Path, moment: str) -> None:
    assert subprocess.run([sys.executable, "-c", _DIES, moment], check=False).returncode == 9
    state = home / "state"
    assert [path for path in state.iterdir() if path.name != ".lock"], "it was killed half-way"
    assert not [*state.glob("[a-z0-9]*")], "but no bottle seems to be there"
    subprocess.run([sys.executable, "-c", _GOES_ON], check=True)
    assert [path.name for path in state.iterdir()] == [".lock"]
