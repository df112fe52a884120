"""`%bottle plan`: show the preflight of a launch, without the launch."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter.core.session import current
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.options import add_launch_options, launch_options
from bb_jupyter.notebook.views.display import show_plan


def _run(args: Namespace) -> None:
    show_plan(current().plan(args.name, launch_options(args)))


command = Command("show what a launch would do; start nothing", _run, "NAME [options]", add_launch_options)
