"""Whose bottles these are: the widget asks, before it lets the Jupyter server act for its kernel."""

from __future__ import annotations

import hashlib
import os

from bb_jupyter.home import bot_bottle_home
from bb_jupyter.process.identity import ProcessIdentity


def place() -> dict[str, str]:
    """Return what two processes share exactly when they see the same bottles: machine, user and folder, hashed."""
    owner = ProcessIdentity.current()
    whose = f"{owner.host}\0{owner.boot_id}\0{owner.pid_namespace}\0{os.getuid()}\0{bot_bottle_home()}"
    return {"place": hashlib.sha256(whose.encode()).hexdigest()[:32]}
