"""The kernel: whether it shows rich output, whether a person is at the page, and threads that print under their cell.

No other module depends on ipykernel.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextvars import copy_context
from threading import Thread
from typing import Any

#: Set to 1: plain output for nbval, papermill and documentation.
PLAIN = "BB_JUPYTER_PLAIN"


def shell() -> Any:  # noqa: ANN401 -- a kernel's or a terminal's; their attributes differ
    """Return IPython's shell, `None` outside of IPython."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()


def is_rich() -> bool:
    """Return whether this is a notebook, which shows HTML and updates displays."""
    return os.environ.get(PLAIN, "") in ("", "0") and getattr(shell(), "kernel", None) is not None


def has_page() -> bool:
    """Return whether a person may be at the page that runs the cell, that is, whether the cell may ask for input.

    Every front end allows input; nbclient and the programs built on it (papermill, nbconvert, nbval) do not.
    Source: Jupyter's messaging protocol 5.4, `execute_request`, `allow_stdin`.
    """
    parent: Mapping[str, Any] = getattr(shell(), "get_parent", dict)()
    return bool(parent.get("content", {}).get("allow_stdin", True))


def start_thread(target: Callable[[], object], name: str) -> Thread:
    """Start a daemon thread whose output appears under the cell that runs now, whichever cells run later.

    ipykernel 7.4 has `set_thread_parent` for this; before, the thread has to run in a copy of the cell's context.
    Measured on 6.29 to 7.4: from 7.1 on, a plain thread prints under the wrong cell.
    """
    ip = shell()
    if hasattr(ip, "set_thread_parent"):
        parent = ip.get_parent()

        def run() -> None:
            ip.set_thread_parent(parent)
            target()

    else:
        context = copy_context()

        def run() -> None:
            context.run(target)

    thread = Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread
