"""Tests of machines that cannot run on this host, or that ask the cloud for more than it promises, are left out; the
summary says how many, and why.

Where a microVM boots, `make test` runs all of them.  Alone, from the checkout:

    .venv/bin/python -m tests.engine run .venv/bin/pytest -k smolmachines-local tests/contract
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.smolmachines.fixtures import why_no_machine_boots
from tests.smolmachines.promises import not_promised

_LOCAL, _CLOUD = "[smolmachines-local", "[smolmachines-cloud"
_left_out: dict[str, int] = {}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot run; whether a machine boots is asked only when a test of one was chosen."""
    reasons = {item: reason for item in items if (reason := _why_not(item))}
    if reasons:
        items[:] = [item for item in items if item not in reasons]
        config.hook.pytest_deselected(items=[*reasons])
        _left_out.update(Counter(reasons.values()))


def _why_not(item: pytest.Item) -> str:
    if _LOCAL in item.nodeid and (reason := why_no_machine_boots()):
        return f"smolmachines-local: no microVM boots on this host (where one does, they run by themselves): {reason}"
    test = getattr(item, "originalname", item.name)
    if _CLOUD in item.nodeid and (reason := not_promised(test, item.path.name)):
        return f"smolmachines-cloud: not promised: {reason}"
    return ""


@pytest.hookimpl
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a worker left out to the process that reports."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["smolmachines_left_out"] = _left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker left out."""
    _left_out.update(getattr(node, "workeroutput", {}).get("smolmachines_left_out", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say it."""
    if _left_out:
        terminalreporter.write_sep("-", "NOT RUN HERE", yellow=True)
    for reason, count in _left_out.items():
        terminalreporter.write_line(f"{count} tests of {reason}")
