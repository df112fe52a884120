"""Promises of output: whatever a bottle prints, nothing is lost that was promised and memory stays bounded."""

from __future__ import annotations

import resource

from bb_jupyter.backend.execution import KEPT_OUTPUT
from bb_jupyter.core.bottle_handle import BottleHandle
from tests.contract.conftest import sh

_MIB = 1 << 20


def test_binary_output_comes_byte_for_byte(bottle: BottleHandle) -> None:
    done = bottle.exec(["sh", "-c", "cat; printf '\\000\\377' >&2"], stdin=bytes(range(256)) * 4096).wait()
    assert done.stdout == bytes(range(256)) * 4096
    assert done.stderr == b"\0\xff"


def test_the_end_of_the_output_is_not_lost(bottle: BottleHandle) -> None:
    for _ in range(30):
        assert sh(bottle, "seq 1 20000").stdout.endswith(b"\n19999\n20000\n")


def test_wait_keeps_head_and_tail_of_a_gigabyte_in_flat_memory(bottle: BottleHandle) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = sh(bottle, "echo head; head -c 1000000000 /dev/zero; echo tail")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert done.returncode == 0
    assert len(done.stdout) == KEPT_OUTPUT
    assert done.truncated == 1_000_000_010 - KEPT_OUTPUT
    assert done.stdout.startswith(b"head\n")
    assert done.stdout.endswith(b"tail\n")
    assert grown < 128 * 1024  # KiB


def test_iteration_passes_on_everything(bottle: BottleHandle) -> None:
    execution = bottle.exec(["head", "-c", str(64 * _MIB), "/dev/zero"])
    assert sum(len(chunk.data) for chunk in execution) == 64 * _MIB
    assert execution.wait().returncode == 0


def test_a_reader_that_pauses_loses_nothing(bottle: BottleHandle) -> None:
    execution = bottle.exec(["seq", "1", "300000"])
    first = next(iter(execution.poll()))
    assert first.data.startswith(b"1\n2\n")
    assert execution.wait().stdout.endswith(b"300000\n")


def test_empty_output_is_empty(bottle: BottleHandle) -> None:
    done = sh(bottle, ":")
    assert (done.stdout, done.stderr, done.returncode) == (b"", b"", 0)
