"""A pytest plugin: a notebook that nbval executes gets a home of its own, plain output and sockets no other has."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from tempfile import TemporaryDirectory

import pytest
from jupyter_client import KernelManager

_HOME = pytest.StashKey[TemporaryDirectory[str]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Cover the set-up of a notebook's first cell, in which nbval starts the kernel."""
    with _environment(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Cover the end of a notebook's last cell, in which nbval stops the kernel."""
    with _environment(item):
        return (yield)


@contextlib.contextmanager
def _environment(item: pytest.Item) -> Iterator[None]:
    if item.path.suffix != ".ipynb" or item.parent is None:
        yield
        return
    home = item.parent.stash.setdefault(_HOME, TemporaryDirectory(prefix="bb-", ignore_cleanup_errors=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOT_BOTTLE_HOME", home.name)
        patch.setenv("BOT_BOTTLE_BACKEND", "bubblewrap")
        patch.setenv("BB_JUPYTER_PLAIN", "1")
        # nbval 0.11.0 would start a second coverage in the kernel, beside the one of `patch = ["subprocess"]`, and
        # waits in vain for the cell that does it.
        patch.setattr(item.config.option, "cov_source", None, raising=False)
        # A port that was free is not always so when the kernel gets to it, with other tests beside this one.
        over_files = partial(KernelManager, transport="ipc", ip=f"{home.name}/kernel")
        patch.setattr("nbval.kernel.KernelManager", over_files)
        yield
