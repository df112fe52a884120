"""bubblewrap: an interrupt at any moment of a sandbox's start leaves nothing.  (Docker's is in tests/docker.)"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bb_jupyter.backend.bubblewrap import spawn
from bb_jupyter.held_bottle import LaunchOptions
from bb_jupyter.session import Session
from tests.leftovers import leftovers

pytestmark = pytest.mark.bubblewrap


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["_spawn", "_first_process"])
def test_an_interrupt_while_bwrap_starts_leaves_nothing(
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
