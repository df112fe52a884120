"""Records of bottles: what is read is what was written last, and nothing stays of who is killed at the worst moment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bb_jupyter.backend import state
from bb_jupyter.process.identity import ProcessIdentity

#: Claims a name and dies while the directory is made, or while it is removed.
_DIES = """
import os, sys, time
from bb_jupyter.backend import state
from bb_jupyter.process.identity import ProcessIdentity

def die(*arguments, **more):
    os._exit(9)

record = state.BottleRecord("one-00000001", "one", "bubblewrap", ProcessIdentity.current(), time.time())
if sys.argv[1] == "made":
    state.Path.rename = die
state.claim(record)
os.rmdir = die
record.remove()
"""
_GOES_ON = """
import time
from bb_jupyter.backend import state
from bb_jupyter.process.identity import ProcessIdentity

record = state.BottleRecord("two-00000002", "two", "bubblewrap", ProcessIdentity.current(), time.time())
state.claim(record)
assert state.records() == [record]
record.remove()
"""


@pytest.mark.parametrize("moment", ["made", "removed"])
def test_who_is_killed_half_way_leaves_nothing_for_ever(home: Path, moment: str) -> None:
    assert subprocess.run([sys.executable, "-c", _DIES, moment], check=False).returncode == 9
    folder = home / "state"
    assert [path for path in folder.iterdir() if path.name != ".lock"], "it was killed half-way"
    assert not [*folder.glob("[a-z0-9]*")], "but no bottle seems to be there"
    subprocess.run([sys.executable, "-c", _GOES_ON], check=True)
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_record_is_read_as_it_was_written_last(home: Path) -> None:
    record = state.BottleRecord("one-00000001", "one", "bubblewrap", ProcessIdentity.current(), time.time())
    state.claim(record)
    long_ago = time.time() - 100
    for number in range(200):  # all of one length, one after the other as fast as can be
        state.add_details(record.slug, number=number % 10)
        assert state.records()[0].details == {"number": number % 10}
        if number % 20 == 0:  # as one that lies there for a while, and is not read from disk again
            os.utime(record.directory / "bottle.json", (long_ago, long_ago))
            assert [*state.records(), *state.records()] == [state.records()[0]] * 2
    record.remove()
    assert state.records() == []
