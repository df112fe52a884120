"""Upstreams need no root: when root runs the tests, a few with ssh, https and a path run once more as another user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

_CHECKOUT = Path(__file__).parents[3]
_TESTS = "held_and_goes_upstream or another_process_releases or host_key"


@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs all of these tests already")
@pytest.mark.skipif(os.environ.get("BB_SKIP_USER") == "1", reason="BB_SKIP_USER=1")
def test_upstreams_are_reached_by_an_ordinary_user() -> None:
    with TemporaryDirectory(prefix="bb-user-") as home:
        as_user = ["unshare", "--mount", sys.executable, "tests/tools/as_user.py", home]
        options = ["-q", "-p", "no:cacheprovider", "--basetemp", f"{home}/tmp", "-k", _TESTS]
        argv = [*as_user, sys.executable, "-m", "pytest", *options, "tests/integration/git_gate"]
        done = subprocess.run(argv, cwd=_CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert (done.returncode, " passed" in done.stdout) == (0, True), done.stdout[-8000:]
