"""`%bottle logs`: show the output of an earlier cell; the bottle may have ended."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from bb_jupyter.core import logs
from bb_jupyter.core.session import current
from bb_jupyter.errors import UsageError, did_you_mean
from bb_jupyter.home import bot_bottle_home
from bb_jupyter.manifest import about_size
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser, count
from bb_jupyter.notebook.views.display import say

#: Most bytes to show; of a longer log, its end.
_MOST = 1 << 20


def _arguments(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME", help="a bottle, running or stopped")
    parser.add_argument("--run", default="", metavar="N", help="number of the run, from 1; the last one by default")
    parser.add_argument("--tail", default="", metavar="N", help="only the last N lines")


def _run(args: Namespace) -> None:
    found = _logs(args.name)
    run = count("--run", args.run) or len(found)
    lines = count("--tail", args.tail)
    if run > len(found):
        raise UsageError(
            f"--run: bottle '{args.name}' has {len(found)} runs", hint=f"Write --run 1 to --run {len(found)}."
        )
    path = found[run - 1]
    size = path.stat().st_size
    text = _end_of(path)
    say(f"{args.name}, run {run} of {len(found)}, {about_size(size)}: {path}")
    if size > _MOST and not lines:
        say(f"⋯ these are the last {about_size(_MOST)}; the file has all of it")
    say("\n".join(text.splitlines()[-lines:] if lines else text.splitlines()))


def _logs(name: str) -> list[Path]:
    slugs = logs.slugs_of(name)
    running = [handle.plan.slug for handle in current().handles() if handle.name == name]
    found = logs.logs_of((running or slugs or [""])[-1])
    if not found:
        folders = (bot_bottle_home() / "logs").glob("*")
        known = {folder.name.rpartition("-")[0] for folder in folders}
        raise UsageError(f"bottle '{name}' has no log", hint="" if name in known else did_you_mean(name, known))
    return found


def _end_of(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MOST), os.SEEK_SET)
        return file.read().decode("utf-8", "replace")


command = Command(
    "show the output of an earlier cell; the bottle may have ended", _run, "NAME [--run N] [--tail N]", _arguments
)
