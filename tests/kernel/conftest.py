"""Kernels for the tests: one that a file's tests share, or a new one for a test that stops it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.kernel.notebook import Notebook

NewNotebook = Callable[..., Notebook]


@pytest.fixture(scope="session")
def kernel_folder() -> Iterator[Path]:
    """A folder with short paths for the home and the project of the shared kernels."""
    with TemporaryDirectory(prefix="bb-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _environment(home: Path, plain: bool, more: Mapping[str, str]) -> dict[str, str]:
    return {
        "BOT_BOTTLE_HOME": str(home),
        "BOT_BOTTLE_BACKEND": "bubblewrap",
        "BB_JUPYTER_PLAIN": "1" if plain else "",
        "IPYTHONDIR": str(home / "ipython"),
        **more,
    }


@pytest.fixture(scope="module")
def notebook(kernel_folder: Path) -> Iterator[Notebook]:
    """A notebook that the tests of a file share; each uses its own bottle names."""
    with TemporaryDirectory(prefix="h-", dir=kernel_folder) as home:
        shared = Notebook(_environment(Path(home), plain=False, more={}), home)
        yield shared
        shared.close()


@pytest.fixture
def new_notebook(home: Path) -> Iterator[NewNotebook]:
    """Start notebooks with the home of this test; they are closed after it."""
    with ExitStack() as stack:

        def start(*, plain: bool = False, **environment: str) -> Notebook:
            started = Notebook(_environment(home, plain, environment), str(home))
            stack.callback(started.close)
            return started

        yield start
