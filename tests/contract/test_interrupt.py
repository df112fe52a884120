"""An interrupt at any moment of a launch leaves nothing, or a bottle that is held; a second one cuts nothing off."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bb_jupyter.backend import state
from bb_jupyter.backend.bottle import Bottle
from bb_jupyter.backend.bubblewrap import spawn
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session, current
from bb_jupyter.notebook import commands, script_run
from tests.contract.conftest import Launch
from tests.leftovers import Engine, leftovers

#: Interrupts a backend, spread over the time that a launch takes here and half of it again.
_MOMENTS = 24


def test_an_interrupt_at_any_moment_of_a_launch(
    launch: Launch, session: Session, home: Path, bottle_name: str, request: pytest.FixtureRequest
) -> None:
    begun = time.monotonic()
    launch().stop()
    took = time.monotonic() - begun
    engine: Engine | None = request.getfixturevalue("engine") if "engine" in request.fixturenames else None
    for moment in range(_MOMENTS):
        alarm = threading.Timer(1.5 * took * moment / _MOMENTS, os.kill, (os.getpid(), signal.SIGINT))
        with contextlib.suppress(KeyboardInterrupt):
            alarm.start()
            launch()
            alarm.join()
            time.sleep(1)  # the interrupt is noticed by now
        for handle in session.handles():
            handle.stop()
        assert leftovers(home, bottle_name, engine) == []


@pytest.mark.bubblewrap
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["_spawn", "_first_process"])
def test_an_interrupt_while_bwrap_starts(
    monkeypatch: pytest.MonkeyPatch, home: Path, bottle_name: str, step: str, when: str
) -> None:
    real: Callable[..., Any] = getattr(spawn, step)

    def interrupted(*args: Any) -> Any:
        if when == "before":
            os.kill(os.getpid(), signal.SIGINT)
        result = real(*args)
        if when == "after":
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)  # the interrupt is noticed while this goes on
        return result

    monkeypatch.setattr(spawn, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        Session().launch(bottle_name, LaunchOptions(backend="bubblewrap"))
    assert leftovers(home, bottle_name) == []


def _press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _pressing(monkeypatch: pytest.MonkeyPatch, where: object, step: str) -> None:
    """Let the user press Stop whenever *step* begins."""
    real: Callable[..., Any] = getattr(where, step)

    def pressed(*arguments: Any, **options: Any) -> Any:
        _press()
        return real(*arguments, **options)

    monkeypatch.setattr(where, step, pressed)


def test_an_interrupted_stop_is_done_to_its_end(
    launch: Launch, session: Session, backend: str, home: Path, bottle_name: str,
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    engine: Engine | None = request.getfixturevalue("engine") if "engine" in request.fixturenames else None
    for keep in [False] if backend == "bubblewrap" else [False, True]:
        with monkeypatch.context() as patch:
            _pressing(patch, state.BottleRecord, "remove")
            bottle = launch(keep=keep)
            with pytest.raises(KeyboardInterrupt):
                bottle.stop()
        assert session.handles() == []
        assert leftovers(home, bottle_name, engine) == []


def test_a_second_interrupt_lets_the_first_undo_a_launch(
    session: Session, backend: str, home: Path, bottle_name: str,
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    engine: Engine | None = request.getfixturevalue("engine") if "engine" in request.fixturenames else None
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        _pressing(patch, state.BottleRecord, "remove")
        session.launch(bottle_name, LaunchOptions(backend=backend), on_progress=lambda step: _press())
    assert leftovers(home, bottle_name, engine) == []


@pytest.mark.bubblewrap
def test_a_second_interrupt_of_a_cell_is_the_first(monkeypatch: pytest.MonkeyPatch, bottle_name: str) -> None:
    with Session().launch(bottle_name, LaunchOptions(backend="bubblewrap")) as bottle:
        work = script_run.Running(bottle, script_run.Script("sleep 1000"))
        _pressing(monkeypatch, script_run, "pump")
        assert work.show().interrupted
        assert bottle.exec(["true"]).wait().returncode == 0


@pytest.mark.bubblewrap
def test_an_interrupted_allow_is_done(monkeypatch: pytest.MonkeyPatch, home: Path, bottle_name: str) -> None:
    with Session().launch(bottle_name, LaunchOptions(backend="bubblewrap")) as bottle:
        _pressing(monkeypatch, Bottle, "trust_gateway")
        with pytest.raises(KeyboardInterrupt):
            bottle.allow("a.example")
        assert bottle.bottle.network.state == "open"
        assert bottle.allow("b.example") == 2
    assert leftovers(home, bottle_name) == []


@pytest.mark.bubblewrap
def test_what_is_stopped_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bottle_name: str
) -> None:
    _pressing(monkeypatch, state.BottleRecord, "remove")
    current().launch(bottle_name, LaunchOptions(backend="bubblewrap"))
    with pytest.raises(KeyboardInterrupt):
        commands.run(["stop", bottle_name], {})
    assert f"stopped {bottle_name}" in capsys.readouterr().out
