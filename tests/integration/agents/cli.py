"""The real command line agents, installed once into the cache of the tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from tests.engine.host import apt_install

#: Their event formats are their own to change: what the tests saw is named exactly.
PACKAGES = ("@anthropic-ai/claude-code@2.1.197", "@openai/codex@0.169.0")
_CHECKOUT = Path(__file__).parents[3]


def installed() -> Path:
    """Return the folder that has `claude` and `codex`; they are installed by npm when it is empty."""
    cache = Path(os.environ.get("BB_TEST_CACHE") or _CHECKOUT / ".cache") / "agents"
    cache.mkdir(parents=True, exist_ok=True)
    programs = cache / "node_modules" / ".bin"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        marker = cache / "installed"
        if not marker.exists() or marker.read_text().split() != list(PACKAGES):
            if not shutil.which("npm"):
                apt_install("npm")
            argv = ["npm", "install", "--no-fund", "--no-audit", "--no-save", "--prefix", str(cache), *PACKAGES]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=900, check=False)
            assert done.returncode == 0, done.stderr[-2000:]
            # npm asks before it runs a package's own installer; this one links the platform's program into place.
            installer = cache / "node_modules/@anthropic-ai/claude-code/install.cjs"
            if installer.exists():
                subprocess.run(["node", str(installer)], cwd=installer.parent, timeout=300, check=True)
            marker.write_text("\n".join(PACKAGES))
    return programs
