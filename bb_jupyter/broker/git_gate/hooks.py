"""The scripts that git is pointed to: written beside the mirrors, the same for all of a bottle's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from bb_jupyter.home import private_dir

_CHECK: Final = """#!/bin/sh
HOME=$BB_GATE_HOME exec "$BB_GATE_PYTHON" -P -m bb_jupyter.broker.git_gate.hook {name}
"""
#: Instead of git-pack-objects, which it becomes: its standard error is what the client shows as `remote:` lines.
_TELL: Final = """#!/bin/sh
printf '%s\\n' "$BB_GATE_NOTICE" >&2
for file in $BB_GATE_TOLD; do : >"told/$file"; done
exec "$@"
"""


def install(folder: Path) -> None:
    """Write them.

    Raises:
        OSError: the disk is not writable.
    """
    private_dir(folder)
    for name, script in {
        **{name: _CHECK.format(name=name) for name in ("pre-receive", "proc-receive")},
        "tell": _TELL,
    }.items():
        scratch = folder / f".{name}.{os.getpid()}"
        scratch.write_text(script, encoding="ascii")
        scratch.chmod(0o700)
        scratch.replace(folder / name)


def hook_variables() -> dict[str, str]:
    """Return what the scripts need to know."""
    return {"BB_GATE_PYTHON": sys.executable, "BB_GATE_HOME": os.environ.get("HOME", os.devnull)}
