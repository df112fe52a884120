"""An interrupt that waits."""

from __future__ import annotations

import os
import signal

import pytest

from bb_jupyter.process import deferred_interrupts


def _press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_it_comes_when_the_block_is_left() -> None:
    done = False
    with pytest.raises(KeyboardInterrupt), deferred_interrupts.defer_sigint():
        _press()
        done = True
    assert done
    with pytest.raises(KeyboardInterrupt):
        _press()


def test_while_one_is_obeyed_there_is_no_other() -> None:
    with deferred_interrupts.defer_sigint(same=True):
        _press()


def test_a_stack_is_unwound_to_its_end() -> None:
    undone: list[int] = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupts.UninterruptibleExitStack() as undo:
        for number in range(3):
            undo.callback(undone.append, number)
            undo.callback(_press)
        raise ValueError
    assert undone == [2, 1, 0]


def test_who_waits_for_what_hangs_can_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deferred_interrupts, "_PATIENCE", -1)
    done = False
    with pytest.raises(KeyboardInterrupt), deferred_interrupts.defer_sigint():
        _press()
        done = True
    assert not done
