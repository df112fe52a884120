"""bubblewrap: the owner is killed (-9) at any moment of a sandbox's start, and nothing of it runs on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.conftest import Launch, out
from tests.contract.test_exec import assert_soon
from tests.leftovers import leftovers

pytestmark = pytest.mark.bubblewrap

_OWNER = """
import os, signal, sys, time
from bb_jupyter.backend.bubblewrap import launch, spawn
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
name, module, step, delay = sys.argv[1:]
module = {"launch": launch, "spawn": spawn}[module]
real = getattr(module, step)
def killed(*arguments):
    result = real(*arguments)
    time.sleep(float(delay))
    os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(module, step, killed)
Session().launch(name, LaunchOptions(backend="bubblewrap"))
"""
_FORKED = """
import os, sys, time
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
held = Session().launch(sys.argv[1], LaunchOptions(backend="bubblewrap"))
child = os.fork()
if not child:
    sys.stdin.read()
    os._exit(0)
print(child, flush=True)
time.sleep(600)
"""


@pytest.fixture
def backend() -> str:
    return "bubblewrap"


def sandboxes(home: Path) -> list[str]:
    """Return the processes of this test's sandboxes."""
    return [line for line in leftovers(home) if line.startswith("process")]


@pytest.mark.parametrize(
    ("module", "step", "delay"),
    [
        ("spawn", "_spawn", 0.0),  # bwrap is not there yet
        ("spawn", "_spawn", 0.005),  # it makes its namespaces
        ("spawn", "_first_process", 0.0),  # it waits for its users
        ("spawn", "_start", 0.0),  # it builds the sandbox
        ("launch", "_record", 0.01),  # guest.py starts
    ],
)
def test_nothing_runs_on(home: Path, bottle_name: str, module: str, step: str, delay: float) -> None:
    done = subprocess.run([sys.executable, "-c", _OWNER, bottle_name, module, step, str(delay)], timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert_soon(lambda: not sandboxes(home))


def test_a_kernel_that_tells_of_no_other_process(
    launch: Launch, bottle_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    assert out(launch(), "echo x") == "x\n"


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="the kernel tells of no other process's death")
def test_what_the_owner_forked_does_not_keep_it(home: Path, bottle_name: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _FORKED, bottle_name], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        owner.kill()
        assert_soon(lambda: [line.split()[1] for line in sandboxes(home)] == [str(child)])
