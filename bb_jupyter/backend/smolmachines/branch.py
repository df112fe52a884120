"""Start bottles with the files of a machine.

In the cloud a branch is a copy-on-write clone of the running machine, memory and running programs included.  On this
host the SDK cannot clone a machine whose connections go through an interceptor ("cannot be combined with branchable
machines"), which every local bottle's do.  So the home is copied into a new machine instead.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bb_jupyter.backend import state
from bb_jupyter.backend.bottle import branch_plan
from bb_jupyter.backend.smolmachines import sdk, transfer
from bb_jupyter.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from bb_jupyter.errors import BackendUnavailable


@contextmanager
def snapshot(bottle: transfer.RunningMachine) -> Iterator[SmolmachinesBottlePlan]:
    """Keep the files of *bottle*; see `Bottle.snapshot`."""
    if not bottle.alive:
        raise sdk.gone(bottle.name)
    plan = branch_plan(bottle.plan)
    if plan.target == "cloud":
        yield replace(plan, source=bottle.machine.id)
        return
    with ExitStack() as stack:
        try:
            folder = state.state_dir() / bottle.slug
            file = stack.enter_context(tempfile.NamedTemporaryFile(dir=folder, suffix=".tar"))
            complaint = transfer.pack_home(bottle, file)
        except OSError as error:
            raise BackendUnavailable(f"cannot branch '{bottle.name}': {error.strerror or error}") from None
        left_out = (f"not all files of '{bottle.name}' are copied: {complaint}",) if complaint else ()
        yield replace(plan, home_archive=Path(file.name), warnings=plan.warnings + left_out)
