"""Real programs in real bottles, through the gateway, to a server of the test's own."""

from __future__ import annotations

import pytest

from tests.attack.conftest import Walled, walled  # noqa: F401 - a bottle of each backend for a whole module


def needs(walled: Walled, program: str, env: dict[str, str] | None = None) -> None:  # noqa: F811
    """Skip, in plain sight, where the bottle has no such program."""
    if walled.handle.exec(["sh", "-c", f"command -v {program}"], env=env).wait().returncode:
        where = "this host" if walled.backend == "bubblewrap" else "the test image"
        pytest.skip(f"{where} has no {program}")
