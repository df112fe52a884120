"""The bubblewrap backend needs no root: when root runs the tests, its contract runs once more as an ordinary user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

_CHECKOUT = Path(__file__).parents[2]


@pytest.mark.timeout(1500)
@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs all of these tests already")
@pytest.mark.skipif(os.environ.get("BB_SKIP_USER") == "1", reason="BB_SKIP_USER=1")
def test_the_contract_holds_for_an_ordinary_user() -> None:
    with TemporaryDirectory(prefix="bb-user-") as home:
        as_user = ["unshare", "--mount", sys.executable, "tests/tools/as_user.py", home]
        options = ["-q", "-p", "no:cacheprovider", "-k", "bubblewrap", "--basetemp", f"{home}/tmp"]
        done = subprocess.run(
            [*as_user, sys.executable, "-m", "pytest", *options, "tests/contract"],
            cwd=_CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    assert (done.returncode, " passed" in done.stdout) == (0, True), done.stdout[-8000:]
