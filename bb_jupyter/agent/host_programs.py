"""Agent programs installed on this host, as a bubblewrap bottle can run them.

The bottle sees the program's file, or its npm package and the platform's package beside it, but never the home that may
contain them.  They appear below `/opt/agent`, so that paths in the bottle do not contain the user's name.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from bb_jupyter.agent.provision_plan import HostBind
from bb_jupyter.errors import BackendUnavailable

#: Folder of the programs in the bottle, and the last entry of its PATH.
GUEST_FOLDER = "/opt/agent"
GUEST_BIN = f"{GUEST_FOLDER}/bin"
#: Folder of the host that every bubblewrap bottle sees.
_SEEN = Path("/usr")


def host_program(name: str, *, install: str) -> tuple[HostBind, ...]:
    """Find a program on this process's PATH.

    Args:
        name: the program's name.
        install: command that installs it, for the message.

    Returns:
        Parts of the host's file system that the bottle needs to run the program by its name.

    Raises:
        BackendUnavailable: the program is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise BackendUnavailable(f"'{name}' is not installed on this host", hint=f"{install}, or use --backend docker.")
    program = Path(found).resolve()
    package = _package_of(program)
    if program.is_relative_to(_SEEN):
        binds = [HostBind(str(program), f"{GUEST_BIN}/{name}", link=True)]
    elif package is None:
        binds = [HostBind(str(program), f"{GUEST_BIN}/{name}")]
    else:
        binds = [*_packages(package), HostBind(_in_guest(package, program), f"{GUEST_BIN}/{name}", link=True)]
    return (*binds, *(_node() if _needs_node(program) else ()))


def _node() -> tuple[HostBind, ...]:
    return host_program("node", install="Install Node.js")


def _package_of(program: Path) -> Path | None:
    """Return the npm package that contains *program*: the folder below the innermost `node_modules`."""
    parts = program.parts
    if "node_modules" not in parts:
        return None
    start = len(parts) - parts[::-1].index("node_modules")
    return Path(*parts[: start + (2 if parts[start].startswith("@") else 1)])


def _packages(package: Path) -> Iterator[HostBind]:
    """Yield the package and its dependencies in the same `node_modules`: npm puts the platform's program there."""
    yield HostBind(str(package), f"{GUEST_FOLDER}/node_modules/{_name(package)}")
    for name in _dependencies(package):
        beside = package.parents[_name(package).count("/")] / name
        if beside.is_dir() and beside.resolve() == beside:
            yield HostBind(str(beside), f"{GUEST_FOLDER}/node_modules/{name}")


def _dependencies(package: Path) -> list[str]:
    try:
        described = json.loads((package / "package.json").read_text())
        return sorted({*described.get("dependencies", {}), *described.get("optionalDependencies", {})})
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def _name(package: Path) -> str:
    return f"{package.parent.name}/{package.name}" if package.parent.name.startswith("@") else package.name


def _in_guest(package: Path, program: Path) -> str:
    return f"{GUEST_FOLDER}/node_modules/{_name(package)}/{program.relative_to(package)}"


def _needs_node(program: Path) -> bool:
    with program.open("rb") as file:
        first = file.readline(200)
    return first.startswith(b"#!") and b"node" in first
