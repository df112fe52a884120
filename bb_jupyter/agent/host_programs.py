"""An agent's program as this host has it installed, so that a bubblewrap bottle can run it.

What the bottle gets to see is the program's own file, or its npm package with the platform's package beside it: never
the home that they may lie in.  Everything appears below `/opt/agent`, whatever the path on the host says of its user.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from bb_jupyter.agent.provision_plan import HostBind
from bb_jupyter.errors import BackendUnavailable

#: Where the programs appear in the bottle, and what its PATH ends in.
GUEST_FOLDER = "/opt/agent"
GUEST_BIN = f"{GUEST_FOLDER}/bin"
#: What every bubblewrap bottle sees anyway.
_SEEN = Path("/usr")


def host_program(name: str, *, install: str) -> tuple[HostBind, ...]:
    """Find a program on this process's PATH.

    Args:
        name: of the program.
        install: the command that installs it, for the error.

    Returns:
        What the bottle has to see so that *name* can be run in it by that name.

    Raises:
        BackendUnavailable: it is not installed.
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
    """Return the npm package that *program* lies in: the folder below the innermost `node_modules`."""
    parts = program.parts
    if "node_modules" not in parts:
        return None
    start = len(parts) - parts[::-1].index("node_modules")
    return Path(*parts[: start + (2 if parts[start].startswith("@") else 1)])


def _packages(package: Path) -> Iterator[HostBind]:
    """Return the package, and those of its dependencies that lie beside it: where npm puts the platform's program."""
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
