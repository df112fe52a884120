"""`%bottle bottles`: list the manifests that `--bottle` can name, and the errors of broken ones."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter.manifest import BottleManifest, Entry, list_bottles
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.error_display import state
from bb_jupyter.notebook.manifest_magic import summary
from bb_jupyter.notebook.views.display import show_table


def _run(args: Namespace) -> None:
    rows = [[entry.name, entry.origin, _state(entry), entry.path] for entry in list_bottles()]
    show_table(("bottle", "from", "what it sets", "file"), rows, empty="there are no bottle manifests")


def _state(entry: Entry[BottleManifest]) -> str:
    return summary(entry.manifest) if entry.manifest else state(entry.error)


command = Command("list the bottle manifests, with the errors of broken ones", _run)
