"""An interrupt at any moment of a launch leaves nothing, or a bottle that is held."""

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

from bb_jupyter.backend.bubblewrap import spawn
from bb_jupyter.held_bottle import LaunchOptions
from bb_jupyter.session import Session
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
        for held in session.held():
            held.stop()
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
