"""Promises of limits: a bottle that takes too much is stopped; the host and the bottle's next command go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.manifest import Limits
from tests.contract.conftest import Launch, out, sh

_MIB = 1 << 20


def enforced(bottle: BottleHandle, name: str) -> bool:
    return any(limit.name == name and limit.means for limit in bottle.plan.limits)


def test_the_preflight_says_what_enforces_each_limit(launch: Launch) -> None:
    bottle = launch(limits=Limits(cpus=1.5, memory=256 * _MIB, pids=100, disk=128 * _MIB, timeout=60))
    text = bottle.plan.text()
    for limit in bottle.plan.limits:
        assert str(limit) in text
        assert limit.means or "NOT ENFORCED" in str(limit)


def test_a_fork_bomb_stays_in_its_bottle(launch: Launch) -> None:
    bottle = launch(limits=Limits(pids=64))
    if not enforced(bottle, "pids"):
        pytest.fail(f"nothing limits processes here: {bottle.plan.text()}")
    bomb = bottle.exec(["sh", "-c", "f() { f | f & }; (f); while :; do :; done"], timeout=3)
    assert bomb.wait().timed_out
    assert out(bottle, "ls / >/dev/null; echo usable") == "usable\n"


def test_a_memory_bomb_is_ended(launch: Launch) -> None:
    bottle = launch(limits=Limits(memory=96 * _MIB))
    done = sh(bottle, "head -c 400m /dev/zero | tail | wc -c")
    assert b"400" not in done.stdout or done.returncode != 0
    assert b"419430400" not in done.stdout
    assert out(bottle, "echo usable") == "usable\n"


def test_a_full_disk_is_the_bottles_own(launch: Launch) -> None:
    bottle = launch(limits=Limits(disk=16 * _MIB))
    if not enforced(bottle, "disk"):
        assert "disk 16 MiB NOT ENFORCED" in bottle.plan.text()
        return
    for folder in (".", "/tmp", "/dev/shm"):
        done = sh(bottle, f"head -c 100m /dev/zero > {folder}/full")
        assert done.returncode != 0, folder
        assert b"No space left" in done.stderr
        out(bottle, f"rm {folder}/full")
    assert sh(bottle, "touch /x; touch /etc/x; touch /usr/x; touch /dev/x; touch /run/x; touch /var/x").returncode != 0
    assert "/x" not in out(bottle, "ls -d /x /etc/x /usr/x /dev/x /run/x /var/x 2>/dev/null; :")


def test_the_limit_of_the_bottle_ends_a_command_that_has_none_of_its_own(launch: Launch) -> None:
    bottle = launch(limits=Limits(timeout=0.5))
    assert sh(bottle, "sleep 60").timed_out
    assert not sh(bottle, "sleep 1", timeout=50).timed_out


def test_no_core_is_dumped_on_the_host(bottle: BottleHandle, tmp_path: Path) -> None:
    sh(bottle, "kill -SEGV $$")
    assert not list(Path().glob("core*"))
