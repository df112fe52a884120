"""What came of a check, and the decorator that makes a function one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bb_jupyter.errors import BottleGone

if TYPE_CHECKING:
    from bb_jupyter.selftest.probe import Probe


@dataclass(frozen=True)
class Verdict:
    """Whether a bottle keeps one promise.

    Attributes:
        promise: which one, such as `P1.raw-sockets`.
        ok: it holds; `None` when that could not be tried.
        detail: what was tried, what broke, or why it could not be tried.
    """

    promise: str
    ok: bool | None
    detail: str

    @property
    def word(self) -> str:
        """The verdict in a word: `ok`, `BROKEN` or `not run`."""
        return "not run" if self.ok is None else "ok" if self.ok else "BROKEN"

    def __str__(self) -> str:
        return f"{self.promise}: {self.word}: {self.detail}"


class Broken(Exception):
    """The promise does not hold; the message says what happened."""


class NotRun(Exception):
    """It cannot be tried in this bottle; the message says why."""


Check = Callable[["Probe"], Verdict]


def check(promise: str) -> Callable[[Callable[[Probe], str]], Check]:
    """Make a function a check: what it returns is the detail of an `ok`, `Broken` and `NotRun` are the other verdicts.

    Args:
        promise: number of the promise, such as `P1`; the function's name follows.
    """

    def wrap(function: Callable[[Probe], str]) -> Check:
        name = f"{promise}.{function.__name__.replace('_', '-')}"

        @functools.wraps(function)
        def run(probe: Probe) -> Verdict:
            try:
                return Verdict(name, True, function(probe))
            except Broken as broken:
                return Verdict(name, False, str(broken))
            except NotRun as not_run:
                return Verdict(name, None, str(not_run))
            except BottleGone as gone:
                return Verdict(name, False, f"the bottle did not survive it: {gone.message}")

        return run

    return wrap
