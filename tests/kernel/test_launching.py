"""A launch that a cell begins and does not end, on every backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.conftest import NewNotebook
from tests.kernel.notebook import Notebook
from tests.leftovers import Engine, leftovers

Left = Callable[[], list[str]]

#: The step after the bottle's start: it says that it has begun, and does not end.
_SLOW_STEP = """
import time
from bb_jupyter.backend import registry
def provision(*args): print("begun", flush=True); time.sleep(1000)
type(registry.get("{backend}")).provision = provision
"""
_FULL_DISK = """
from bb_jupyter.backend import registry
def provision(*args): raise OSError(28, "No space left on device", "/home/x")
type(registry.get("{backend}")).provision = provision
"""


@pytest.fixture(
    params=[
        pytest.param("bubblewrap", marks=pytest.mark.bubblewrap),
        pytest.param("docker", marks=pytest.mark.docker),
    ]
)
def engine_of(request: pytest.FixtureRequest) -> Engine | None:
    """The engine of the backend that the test is run for; `None` where that has none."""
    found: Engine | None = request.getfixturevalue("engine") if request.param == "docker" else None
    return found


@pytest.fixture
def backend(engine_of: Engine | None) -> str:
    return "docker" if engine_of else "bubblewrap"


@pytest.fixture
def notebook(new_notebook: NewNotebook, engine_of: Engine | None, backend: str) -> Notebook:
    image = {"BOT_BOTTLE_BASE_IMAGE": engine_of.base_image} if engine_of else {}
    return new_notebook(plain=True, BOT_BOTTLE_BACKEND=backend, **image)


@pytest.fixture
def left(home: Path, bottle_name: str, engine_of: Engine | None) -> Left:
    """What exists of the test's bottle while the kernel still lives."""
    return lambda: [line for line in leftovers(home, bottle_name, engine_of) if "ipykernel" not in line]


@pytest.mark.parametrize("options", ["", "--bg", "--rm"])
def test_an_interrupt_during_the_launch_leaves_nothing(
    notebook: Notebook, backend: str, bottle_name: str, left: Left, options: str
) -> None:
    notebook.run(_SLOW_STEP.format(backend=backend))
    running = notebook.start(f"%%bottle {bottle_name} {options}\necho never")
    notebook.until(running, lambda cell: "begun\n" in cell.stdout)
    assert left()
    notebook.interrupt()
    cell = notebook.finish(running)
    assert cell.error == "KeyboardInterrupt" and "never\n" not in cell.stdout
    assert left() == []
    assert notebook.run("%bottle ls").stdout == "no bottle is running\n"


def test_a_disk_that_is_full_after_the_start_leaves_nothing(
    notebook: Notebook, backend: str, bottle_name: str, left: Left
) -> None:
    notebook.run(_FULL_DISK.format(backend=backend))
    cell = notebook.run(f"%%bottle {bottle_name}\necho never")
    assert cell.error == "BottleError: No space left on device: /home/x"
    assert left() == []


def test_a_body_that_cannot_start_leaves_the_bottle_usable(notebook: Notebook, bottle_name: str) -> None:
    cell = notebook.run(f"%%bottle {bottle_name} --cwd nowhere\necho never")
    assert not cell.ok and "nowhere" in cell.stderr + cell.error and "Traceback" not in cell.error
    assert notebook.run(f"%%bottle {bottle_name} --cwd /tmp\npwd").stdout == "/tmp\n"
