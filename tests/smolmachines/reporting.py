"""Tests of machines on this host are left out where none boots, and the summary says so in one line."""

from __future__ import annotations

from typing import Any

import pytest

from tests.smolmachines.fixtures import why_no_machine_boots

_LOCAL = "[smolmachines-local"
_not_run: dict[str, int] = {}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot run; asked only when something was chosen that could."""
    local = [item for item in items if _LOCAL in item.nodeid]
    if not local or not (reason := why_no_machine_boots()):
        return
    items[:] = [item for item in items if item not in local]
    config.hook.pytest_deselected(items=local)
    _not_run[reason] = len(local)


@pytest.hookimpl
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what a worker left out to the process that reports."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["smolmachines_not_run"] = _not_run


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take what a worker left out."""
    _not_run.update(getattr(node, "workeroutput", {}).get("smolmachines_not_run", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say it."""
    for reason, count in _not_run.items():
        terminalreporter.write_sep("-", "NOT RUN HERE", yellow=True)
        terminalreporter.write_line(f"{count} tests of smolmachines-local: no microVM boots on this host: {reason}")
