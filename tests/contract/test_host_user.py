"""bubblewrap: for this host the agent is an ordinary user, though root runs the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bb_jupyter.backend import state
from bb_jupyter.core.bottle_handle import BottleHandle
from tests.contract.conftest import Launch, out, sh

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's bottles are that user's")


@pytest.fixture
def backend() -> str:
    """Another backend's bottles are no processes of this host's root."""
    return "bubblewrap"


def host_ids(bottle: BottleHandle) -> set[int]:
    """Return every uid and gid that the bottle's first process has on this host."""
    (record,) = [record for record in state.records() if record.slug == bottle.plan.slug]
    status = Path(f"/proc/{record.details['pid']}/status").read_text().splitlines()
    return {int(number) for line in status if line.startswith(("Uid:", "Gid:")) for number in line.split()[1:]}


def test_the_agent_is_nobody_known_and_each_bottle_has_its_own(launch: Launch, bottle_name: str) -> None:
    one, other = launch(f"{bottle_name}-1"), launch(f"{bottle_name}-2")
    assert len(host_ids(one)) == len(host_ids(other)) == 1
    assert min(host_ids(one) | host_ids(other)) > 1 << 24
    assert not host_ids(one) & host_ids(other)
    assert "warning" not in one.plan.text()
    assert out(one, "id -u; id -g; id -G").split() == ["1000"] * 3
    for handle in (one, other):
        handle.stop()


def test_what_only_root_may_read_is_closed(bottle: BottleHandle) -> None:
    assert out(bottle, "find / -xdev -uid 0 -perm -400 ! -perm -004 -type f -readable -print 2>/dev/null; :") == ""
    assert sh(bottle, "chmod 777 /tmp; touch /proc/sys/kernel/core_pattern").returncode != 0


def test_its_input_and_output_can_be_opened_again(bottle: BottleHandle) -> None:
    script = "cat /dev/stdin; echo out > /dev/stdout; echo err > /dev/stderr"
    for given in (b"given\n", (Path(__file__).parents[2] / "Makefile").read_bytes()):
        done = sh(bottle, script, stdin=given)
        assert (done.returncode, done.stdout, done.stderr) == (0, given + b"out\n", b"err\n")
