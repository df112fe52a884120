"""`%bottle dashboard`: show every running bottle and every waiting request, live where the front end can."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter.notebook import kernel
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.views.display import say


def _run(args: Namespace) -> None:
    from bb_jupyter.notebook.views import dashboard

    if not kernel.is_rich():
        say(dashboard.moment()[0])
        return
    from IPython.display import display

    display(dashboard.Dashboard())  # type: ignore[no-untyped-call]


command = Command("watch and control every running bottle from a cell", _run)
