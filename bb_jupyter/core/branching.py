"""Starting several bottles from one: their names, and the rule that either all start or none stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from bb_jupyter.manifest.manifest_files import NAME_MAX
from bb_jupyter.process import deferred_interrupts

_Wanted = TypeVar("_Wanted")
_Started = TypeVar("_Started")
#: Most bottles that start at the same time.
_AT_ONCE = 8
_MOST = 1000


def branch_names(name: str) -> Iterator[str]:
    """Yield candidate names for branches of the bottle *name*: `NAME-1`, `NAME-2`, …"""
    stem = name[: NAME_MAX - len(f"-{_MOST}")].rstrip("-")
    for number in range(1, _MOST + 1):
        yield f"{stem}-{number}"


def all_or_none(
    start: Callable[[_Wanted], _Started], stop: Callable[[_Started], object], wanted: Sequence[_Wanted]
) -> list[_Started]:
    """Start several things at the same time; after a failure or an interrupt, stop those that did start.

    Args:
        start: starts one.
        stop: stops one.
        wanted: arguments of *start*, at least one.

    Returns:
        The results of *start*, in the order of *wanted*.

    Raises:
        BaseException: the first error of *start*, or the interrupt.
    """
    with ThreadPoolExecutor(min(len(wanted), _AT_ONCE), "bottle-branch") as pool:
        starting = [pool.submit(start, each) for each in wanted]
        try:
            return [future.result() for future in starting]
        except BaseException:
            with deferred_interrupts.defer_sigint():
                for future in starting:
                    future.cancel()
                for future in as_completed(starting):
                    if not future.cancelled() and future.exception() is None:
                        stop(future.result())
            raise
