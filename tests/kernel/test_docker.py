"""Bottles of a real engine in the cells of a real kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel.conftest import NewNotebook
from tests.kernel.notebook import Cell, Notebook
from tests.leftovers import Engine

pytestmark = pytest.mark.docker

#: A cell that makes a request to the engine fail as it does for a user who may not use its socket.
_CLOSED_SOCKET = """
import docker.transport.unixconn
def refuse(self): raise PermissionError(13, 'Permission denied')
docker.transport.unixconn.UnixHTTPConnection.connect = refuse
"""


@pytest.fixture
def notebook(nothing_left: None, new_notebook: NewNotebook, engine: Engine) -> Notebook:
    """A notebook of a test's own, whose bottles are containers."""
    return new_notebook(BOT_BOTTLE_BACKEND="docker", BOT_BOTTLE_BASE_IMAGE=engine.base_image)


@pytest.fixture
def build(notebook: Notebook, home: Path, bottle_name: str, engine: Engine) -> Iterator[Callable[[str], str]]:
    """Write a Dockerfile; return the line of a cell whose bottle is built by it."""

    def write(steps: str) -> str:
        folder = home / bottle_name
        folder.mkdir()
        (folder / "Dockerfile").write_text(f"ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}}\n{steps}")
        assert notebook.run(f"%%bottle_manifest built\ndockerfile: {folder}/Dockerfile").ok
        return f"%%bottle {bottle_name} --bottle built"

    yield write
    notebook.run("%bottle stop --all")
    engine.forget_images(bottle_name)


def test_a_kept_bottle_is_attached_to_after_a_restart_of_the_kernel(notebook: Notebook, bottle_name: str) -> None:
    cell = notebook.run(f"%%bottle {bottle_name} --keep --env WORD=kept --cwd /tmp\necho 42 > answer")
    assert cell.ok and "`%bottle attach` finds it again" in cell.displays[0]["text/plain"]
    notebook.restart()
    listed = notebook.run("%bottle ls").displays[0]["text/plain"]
    assert bottle_name in listed and "none (see %bottle attach)" in listed
    refused = notebook.run(f"%%bottle {bottle_name}\ntrue")
    assert refused.error.startswith("NameTaken: ") and f"%bottle attach {bottle_name}" in refused.error
    assert notebook.run(f"%bottle attach {bottle_name}").stdout == f"attached {bottle_name} (docker)\n"
    assert notebook.run(f"%%bottle {bottle_name}\ncat answer; echo $WORD; pwd").stdout == "42\nkept\n/tmp\n"
    assert "this kernel" in notebook.run("%bottle ls").displays[0]["text/plain"]
    assert notebook.run(f"%bottle stop {bottle_name}").ok
    assert notebook.run("%bottle ls").stdout == "no bottle is running\n"


def test_a_build_shows_its_progress_and_its_log(
    notebook: Notebook, build: Callable[[str], str], bottle_name: str
) -> None:
    # The name makes it a step that the engine has not done before.
    line = build(f"RUN for i in 1 2 3 4 5; do echo log $i {bottle_name}; sleep 0.3; done\nRUN echo made > /made\n")
    cell = notebook.run(f"{line}\ncat /made")
    assert (cell.ok, cell.stdout) == (True, "made\n"), cell.error
    assert "to be built" in cell.displays[0]["text/plain"]
    updates = [m["content"]["data"] for m in cell.of("display_data", "update_display_data")][1:]
    bars = [data["text/html"] for data in updates if '<progress max="' in data["text/html"]]
    assert any(f"build {bottle_name}" in markup and "log " in markup for markup in bars), updates
    assert updates[-1]["text/plain"].startswith(f"launched {bottle_name} in ")
    assert len(cell.displays) == 2  # the preflight, and the progress in its last state


def test_a_build_that_fails_shows_its_last_lines(
    notebook: Notebook, build: Callable[[str], str], bottle_name: str
) -> None:
    line = build("RUN echo on the way; echo it broke >&2; exit 7\n")
    cell = notebook.run(f"{line}\ntrue")
    assert cell.reply["ename"] == "BuildFailed" and "Traceback" not in cell.error
    assert "Dockerfile: step 3 of 4 failed" in cell.error.splitlines()[0]
    assert {"on the way", "it broke"} <= set(cell.error.splitlines())
    assert notebook.run("%bottle ls").stdout == "no bottle is running\n"


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("--image 127.0.0.1:9/no/such:image", "BackendUnavailable", "cannot pull image '127.0.0.1:9/no/such:image'"),
        ("--image Not.An/Image", "UsageError", "not the name of an image"),
        ("--bottle nofile", "UsageError", "there is no Dockerfile /no/such/Dockerfile"),
        ("--user no!body", "UsageError", "not a user"),
        ("--copy /no/such", "UsageError", "/no/such"),
        ("--user nobody-known", "UsageError", "has no user 'nobody-known'"),
    ],
)
def test_what_is_missing_is_told_in_two_lines(
    notebook: Notebook, bottle_name: str, line: str, kind: str, words: str
) -> None:
    notebook.run("%%bottle_manifest nofile\ndockerfile: /no/such/Dockerfile")
    assert_short(notebook.run(f"%%bottle {bottle_name} {line}\ntrue"), kind, words)


def test_an_engine_that_is_down_is_told(new_notebook: NewNotebook, bottle_name: str) -> None:
    notebook = new_notebook(BOT_BOTTLE_BACKEND="", DOCKER_HOST="unix:///no/such.sock")
    for cell in (f"%%bottle {bottle_name}\ntrue", f"%bottle plan {bottle_name} --backend docker"):
        assert_short(notebook.run(cell), "BackendUnavailable", "nothing answers at unix:///no/such.sock")
    assert notebook.run("%bottle ls").stdout == "no bottle is running\n"
    said = notebook.run("%bottle cleanup")
    assert said.ok and "docker" in said.stdout and "nothing answers" in said.stdout
    assert "nothing answers" in notebook.run("%bottle doctor").displays[0]["text/plain"]
    assert notebook.run(f"%%bottle {bottle_name} --backend bubblewrap\necho works").stdout == "works\n"


def test_an_engine_whose_socket_is_closed_to_the_user_is_told(notebook: Notebook, bottle_name: str) -> None:
    assert notebook.run(_CLOSED_SOCKET).ok
    cell = notebook.run(f"%%bottle {bottle_name}\ntrue")
    assert_short(cell, "BackendUnavailable", "usermod -aG docker")


def test_an_interrupt_while_the_image_is_built_leaves_nothing(
    notebook: Notebook, build: Callable[[str], str], bottle_name: str
) -> None:
    running = notebook.start(build("RUN echo building; sleep 0.3; echo still; sleep 1000\n") + "\ntrue")
    notebook.until(running, lambda cell: "still" in str(cell.displays))
    notebook.interrupt()
    cell = notebook.finish(running)
    assert cell.error == "KeyboardInterrupt"
    assert cell.displays[-1]["text/plain"] == f"{bottle_name} was not launched"
    assert notebook.run("%bottle ls").stdout == "no bottle is running\n"
    assert notebook.run("%bottle cleanup").stdout == "nothing to clean up\n"


def assert_short(cell: Cell, kind: str, words: str) -> None:
    assert cell.reply["status"] == "error" and cell.reply["ename"] == kind, cell.reply
    assert cell.error.startswith(f"{kind}: ") and words in cell.error, cell.error
    assert len(cell.error.splitlines()) <= 2 and "Traceback" not in cell.error
