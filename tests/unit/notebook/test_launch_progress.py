"""Progress of a launch, in a notebook and in plain text."""

from __future__ import annotations

from typing import Any

import pytest

from bb_jupyter.backend.base import OnProgress, Progress
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.errors import BuildFailed
from bb_jupyter.notebook import kernel
from bb_jupyter.notebook.views import launch_progress


class Launches:
    """A session that reports steps and may fail."""

    def __init__(self, steps: list[Progress], error: Exception | None = None) -> None:
        self._steps, self._error = steps, error

    def launch(self, name: str, options: LaunchOptions, *, on_plan: object, on_progress: OnProgress) -> str:
        for step in self._steps:
            on_progress(step)
        if self._error:
            raise self._error
        return "held"


STEPS = [Progress("build image", 1, 4, "Step 1/4 : FROM <b>\x1b[2J"), Progress("start")]


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, object]]:
    """What a rich notebook was shown: text, markup, and the handle it replaced."""
    shown: list[tuple[str, str, object]] = []

    def publish(text: str, markup: str, handle: object = None) -> object:
        shown.append((text, markup, handle))
        return handle or f"display {len(shown)}"

    monkeypatch.setattr(kernel, "is_rich", lambda: True)
    monkeypatch.setattr(launch_progress, "publish", publish)
    return shown


def launch(session: Any) -> None:
    launch_progress.launch(session, "demo", LaunchOptions())


def test_a_quick_launch_is_one_line(published: list[tuple[str, str, object]]) -> None:
    launch(Launches(STEPS))
    assert [text.startswith("launched demo in ") for text, _, _ in published] == [True]


def test_a_slow_launch_is_one_display_that_ends_as_a_line(
    published: list[tuple[str, str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_progress, "INTERVAL", 0.0)
    launch(Launches(STEPS))
    assert [handle for _, _, handle in published] == [None, "display 1", "display 1"]
    markup = published[0][1]
    assert '<progress max="4" value="1">' in markup and "&lt;b&gt;␛[2J" in markup and "\x1b" not in markup
    assert "progress" not in published[-1][1]


def test_a_failed_launch_leaves_no_progress_bar(
    published: list[tuple[str, str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_progress, "INTERVAL", 0.0)
    with pytest.raises(BuildFailed):
        launch(Launches(STEPS, BuildFailed("no")))
    assert published[-1][0] == "demo was not launched"


def test_plain_output_has_every_line_of_the_log_once(capsys: pytest.CaptureFixture[str]) -> None:
    launch(Launches(STEPS))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "build image: Step 1/4 : FROM <b>␛[2J"
    assert len(lines) == 2 and lines[1].startswith("launched demo in ")
