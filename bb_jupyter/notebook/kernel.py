"""All that this package knows of ipykernel: what output can be, who reads it, and a thread's output under its cell."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextvars import copy_context
from threading import Thread
from typing import Any

#: Set to 1: plain output for nbval, papermill and documentation.
PLAIN = "BB_JUPYTER_PLAIN"


def shell() -> Any:  # noqa: ANN401 -- a kernel's or a terminal's: what they have is asked for at run time
    """Return IPython's shell, `None` outside of IPython."""
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return get_ipython()


def is_rich() -> bool:
    """Whether this is a notebook that shows HTML and updates displays."""
    return os.environ.get(PLAIN, "") in ("", "0") and getattr(shell(), "kernel", None) is not None


def has_page() -> bool:
    """Whether a person may be at a page that runs the cell: one who could be asked for input, as the protocol puts it.

    nbclient and all that is built on it (papermill, nbconvert, nbval) say no to that, every front end says yes.
    Source: Jupyter's messaging protocol 5.4, `execute_request`, `allow_stdin`.
    """
    parent: Mapping[str, Any] = getattr(shell(), "get_parent", dict)()
    return bool(parent.get("content", {}).get("allow_stdin", True))


def start_thread(target: Callable[[], object], name: str) -> Thread:
    """Start a daemon thread whose output lands under the cell that runs now, whichever cells run later.

    ipykernel 7.4 has `set_thread_parent` for it; before, a thread that runs in a copy of the cell's context does it
    (measured on 6.29 to 7.4: a bare thread prints under the wrong cell from 7.1 on).
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
