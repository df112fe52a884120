"""A pytest plugin: a notebook that nbval executes gets a home of its own and plain output."""

from __future__ import annotations

from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest

_home = pytest.StashKey[TemporaryDirectory[str]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Set the environment while nbval starts the kernel of the file, which is when its first cell is set up."""
    if item.path.suffix != ".ipynb":
        return (yield)
    assert item.parent
    folder = item.parent.stash.setdefault(_home, TemporaryDirectory(prefix="bb-", ignore_cleanup_errors=True))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("BOT_BOTTLE_HOME", folder.name)
        return (yield)


_ENVIRONMENT = {"BB_JUPYTER_PLAIN": "1", "BOT_BOTTLE_BACKEND": "bubblewrap"}
