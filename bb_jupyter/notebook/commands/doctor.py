"""`%bottle doctor`: show what works on this host, what does not, and how to fix it."""

from __future__ import annotations

import os
import platform
import sys
from argparse import Namespace
from importlib import metadata

from bb_jupyter import api
from bb_jupyter.backend import registry
from bb_jupyter.backend.base import Check
from bb_jupyter.core.session import current
from bb_jupyter.errors import BottleError
from bb_jupyter.home import bot_bottle_home
from bb_jupyter.notebook import kernel
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.views.display import show_table


def _run(args: Namespace) -> None:
    checks = {"here": _here(), **api.doctor()}
    rows = [[where, check.name, check.verdict, check.detail, check.fix] for where in checks for check in checks[where]]
    show_table(("where", "what", "verdict", "found", "to fix it"), rows, empty="nothing was checked")


def _here() -> list[Check]:
    return [_chosen(), _home(), _versions(), _output()]


def _chosen() -> Check:
    if configured := current().default_backend:
        return Check("backend", "ok", f"{configured} (set by %config)")
    try:
        backend, reason = registry.choose()
    except BottleError as error:
        return Check("backend", "failed", error.message, error.hint)
    return Check("backend", "ok", f"{backend.name} ({reason})")


def _home() -> Check:
    home = bot_bottle_home()
    if not home.exists():
        return Check("folder", "ok", f"{home} will be created")
    mode = home.stat().st_mode & 0o777
    if mode & 0o077:
        return Check("folder", "warning", f"{home} is open to others ({mode:o})", f"chmod 700 {home}")
    return Check("folder", "ok", str(home))


def _versions() -> Check:
    found = [f"Python {platform.python_version()}"]
    for name in ("ipython", "ipykernel", "ipywidgets", "jupyterlab"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return Check("versions", "ok", ", ".join(found) + f", in {sys.prefix}")


def _output() -> Check:
    if kernel.is_rich():
        return Check("output", "ok", "rich")
    why = f"{kernel.PLAIN} is set" if os.environ.get(kernel.PLAIN) else "this is not a notebook"
    return Check("output", "ok", f"plain: {why}")


command = Command("check every backend on this host, and show how to fix what fails", _run)
