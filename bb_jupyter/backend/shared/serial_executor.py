"""Requests that an interrupt must not cut in two: they run in a thread, and only the waiting is interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


class SerialExecutor:
    """Runs steps one after the other in one thread; an interrupted `run` leaves its step to end by itself."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "bb-docker-launch")
        # The thread starts before anything matters: an executor that is interrupted meanwhile forgets its thread, and
        # would start a second one that overtakes the first.
        self.run(lambda: None)

    def run(self, step: Callable[[], _T]) -> _T:
        """Run *step* after all earlier ones and return its result.

        Raises:
            BaseException: what the step raised, or what interrupted the waiting.
        """
        return self.begin(step).result()

    def begin(self, step: Callable[[], _T]) -> Future[_T]:
        """Run *step* after all earlier ones; does not wait."""
        try:
            return self._executor.submit(step)
        except RuntimeError:  # the interpreter is about to end, and no thread starts any more
            done: Future[_T] = Future()
            _fulfil(done, step)
            return done

    def close(self) -> None:
        """Let the thread end after its last step."""
        self._executor.shutdown(wait=False)

    def __enter__(self) -> SerialExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run_to_completion(call: Callable[[], _T], *, undo: Callable[[_T], object]) -> _T:
    """Return the result of *call*; an interrupt ends the waiting at once, and what comes of the call is undone.

    Raises:
        BaseException: what the call raised, or what interrupted the waiting.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()  # only the main thread is interrupted
    future: Future[_T] = Future()  # made first: an interrupt inside `submit` would leave us without one
    try:
        try:
            _starters.submit(_fulfil, future, call)
        except RuntimeError:
            return call()  # the interpreter is about to end, and no thread starts any more
        return future.result()
    except BaseException:
        future.add_done_callback(lambda done: _undo(done, undo))
        raise


_starters = ThreadPoolExecutor(4, "bb-docker-exec")


def _fulfil(future: Future[_T], call: Callable[[], _T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)


def _undo(done: Future[_T], undo: Callable[[_T], object]) -> None:
    if done.exception() is None:
        undo(done.result())
