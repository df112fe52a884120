"""Many bottles from one: what their names are, and that all of them start or none stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from bb_jupyter.manifest.names import NAME_MAX
from bb_jupyter.process import deferred_interrupts

_Wanted = TypeVar("_Wanted")
_Started = TypeVar("_Started")
#: Bottles that start at the same time.
_AT_ONCE = 8
_MOST = 1000


def branch_names(name: str) -> Iterator[str]:
    """Yield what the branches of the bottle *name* may be called: `NAME-1`, `NAME-2`, …"""
    stem = name[: NAME_MAX - len(f"-{_MOST}")].rstrip("-")
    for number in range(1, _MOST + 1):
        yield f"{stem}-{number}"


def all_or_none(
    start: Callable[[_Wanted], _Started], stop: Callable[[_Started], object], wanted: Sequence[_Wanted]
) -> list[_Started]:
    """Start several at the same time; when one fails, or the waiting is interrupted, none of them stays.

    Args:
        start: starts one.
        stop: ends one.
        wanted: what to start, at least one.

    Returns:
        What was started, in the order of *wanted*.

    Raises:
        BaseException: what the first one raised that failed, or what interrupted the waiting.
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
