"""Errors in a cell: one or two lines without a traceback of this package; the cell still fails.

`%load_ext` imports this module, so it imports what errors need only when there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from bb_jupyter.errors import BottleError

P = ParamSpec("P")
R = TypeVar("R")
_RED, _END = "\x1b[31m", "\x1b[39m"


class HelpWanted(Exception):
    """A line asks for help; the message of this exception is the help."""


def shown_shortly(magic: Callable[P, R]) -> Callable[P, R | None]:
    """Wrap a magic so that its errors are short; the execute reply is `error`, so Run All, nbclient and nbval stop.

    An exception other than `BottleError`, `OSError` and an interrupt is a bug, and keeps its traceback.
    """

    @wraps(magic)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return magic(*args, **kwargs)
        except HelpWanted as help_wanted:
            print(help_wanted)  # noqa: T201
            return None
        except (BottleError, KeyboardInterrupt) as error:
            raise short(error) from None
        except OSError as error:
            raise short(_of_system(error)) from error

    return guarded


def short(error: BaseException) -> BaseException:
    """Return *error* changed: IPython shows its name and message alone, with control characters made visible.

    IPython asks an exception for `_render_traceback_` before it formats one (`InteractiveShell.showtraceback`).
    """
    from bb_jupyter.text.visible import visible

    text = visible(str(error))
    error.args = (text,) if text else ()
    error._render_traceback_ = lambda: [message(error)]  # type: ignore[attr-defined]
    return error


def message(error: BaseException) -> str:
    """Return the text that a cell shows for *error*."""
    from bb_jupyter.text.visible import visible

    text = visible(str(error))
    return f"{_RED}{type(error).__name__}{_END}" + (f": {text}" if text else "")


def state(error: BottleError | None) -> str:
    """Return *error* as text for a cell of a table; `ok` for none."""
    return "; ".join(filter(None, (error.message, error.hint))) if error else "ok"


def _of_system(error: OSError) -> BottleError:
    where = f": {error.filename}" if error.filename else ""
    return BottleError(f"{error.strerror or error}{where}")
