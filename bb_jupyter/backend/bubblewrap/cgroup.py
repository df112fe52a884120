"""Limits on memory, processes and processor time of a whole bottle, by a control group (v1 or v2) if possible."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from bb_jupyter.manifest import Limits
from bb_jupyter.process.waiting import wait_until

_PERIOD = 100_000  # microseconds, the kernel's default for cpu.max and cpu.cfs_period_us
#: Seconds to wait until dying processes have left a group.
_REMOVE = 5.0
_V1_CONTROLLERS = ("memory", "pids", "cpu")


@dataclass(frozen=True)
class Parents:
    """The place where a bottle's group can be made.

    Attributes:
        version: 1 or 2.
        folders: controller (`memory`, `pids`, `cpu`) → directory below which its group goes.
    """

    version: int
    folders: dict[str, Path]


@dataclass(frozen=True)
class Cgroup:
    """The groups of one bottle, one directory for v2, one a controller for v1."""

    folders: tuple[Path, ...]

    def add(self, pid: int) -> None:
        """Move process *pid* into the group; its children are born there.

        Raises:
            OSError: the kernel refuses.
        """
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        """Wait until the dying processes are gone, up to 5 seconds, and remove the groups.  Idempotent."""
        for folder in self.folders:
            wait_until(partial(_removed, folder), timeout=_REMOVE, poll=0.001)


def _removed(folder: Path) -> bool:
    """Remove a group; return whether it is gone: while a process is in it, it cannot be removed."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def create(slug: str, limits: Limits, parents: Parents) -> Cgroup | None:
    """Make the group of bottle *slug*, limited.

    Returns:
        The group, or `None` when no limit asks for one.

    Raises:
        OSError: the kernel refuses; nothing is left.
    """
    files = _v2_files(limits) if parents.version == 2 else _v1_files(limits)
    folders = {name: parents.folders[name] / f"bb-{slug}" for name in files if name in parents.folders}
    group = Cgroup(tuple(dict.fromkeys(folders.values())))
    try:
        for folder in group.folders:
            folder.mkdir()
        for name, folder in folders.items():
            for file, value in files[name].items():
                _write(folder / file, value)
    except BaseException:
        group.remove()
        raise
    return group if group.folders else None


@cache
def parents() -> Parents | None:
    """Return where this process may make groups; `None` if nowhere."""
    return find_parents(Path("/proc/self/cgroup").read_text(), Path("/sys/fs/cgroup"))


def find_parents(own: str, root: Path) -> Parents | None:
    """Return where a process may make groups; `None` if nowhere.

    Args:
        own: its `/proc/PID/cgroup`.
        root: where the hierarchies are mounted.
    """
    lines = [line.split(":", 2) for line in own.splitlines()]
    if (root / "cgroup.controllers").exists():
        return _v2_parents(root, next((path for number, _, path in lines if number == "0"), "/"))
    folders = {}
    for _, names, path in lines:
        for name in set(names.split(",")) & set(_V1_CONTROLLERS):
            folder = root / names / path.lstrip("/")
            if os.access(folder, os.W_OK):
                folders[name] = folder
    return Parents(1, folders) if folders else None


def _v2_parents(root: Path, own: str) -> Parents | None:
    """Return the nearest writable group above our own: a group with processes cannot have limited children."""
    folder = root / own.lstrip("/")
    while folder != root and folder.is_relative_to(root):
        folder = folder.parent
        if os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK):
            given = (folder / "cgroup.subtree_control").read_text().split()
            if given:
                return Parents(2, {name: folder for name in given if name in _V1_CONTROLLERS})
    return None


def _v2_files(limits: Limits) -> dict[str, dict[str, str]]:
    files = {}
    if limits.memory:
        files["memory"] = {"memory.max": str(limits.memory), "memory.swap.max": "0"}
    if limits.pids:
        files["pids"] = {"pids.max": str(limits.pids)}
    if limits.cpus:
        files["cpu"] = {"cpu.max": f"{round(limits.cpus * _PERIOD)} {_PERIOD}"}
    return files


def _v1_files(limits: Limits) -> dict[str, dict[str, str]]:
    files = {}
    if limits.memory:
        files["memory"] = {
            "memory.limit_in_bytes": str(limits.memory),
            "memory.memsw.limit_in_bytes": str(limits.memory),
        }
    if limits.pids:
        files["pids"] = {"pids.max": str(limits.pids)}
    if limits.cpus:
        files["cpu"] = {"cpu.cfs_period_us": str(_PERIOD), "cpu.cfs_quota_us": str(round(limits.cpus * _PERIOD))}
    return files


def _write(file: Path, value: str) -> None:
    # Kernels without swap accounting lack these files.
    optional = "swap" in file.name or "memsw" in file.name
    try:
        with file.open("r+") as handle:
            handle.write(value)
    except (FileNotFoundError, PermissionError):
        if not optional:
            raise
