"""Run a command as an ordinary user:  unshare --mount python tests/tools/as_user.py HOME COMMAND...

The checkout, the virtual environment and its interpreter may lie below a folder that is closed to that user, such as
`/root`.  In this mount namespace, which ends with the command, a copy of the path is opened over the closed folder:
nothing else of it is seen, and nothing on the disk changes.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

_UID = 61234  # between the ranges that Debian gives to people and to services
_CHECKOUT = Path(__file__).resolve().parents[2]


def run_as_user(home: Path, command: list[str]) -> None:
    """Become the user with the home folder *home*, then *command*.  Does not return."""
    _open_paths(sorted({_CHECKOUT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}), home)
    for file, line in (
        ("passwd", f"bb-test:x:{_UID}:{_UID}:ordinary user:{home}:/bin/sh\n"),
        ("group", f"bb-test:x:{_UID}:\n"),
    ):
        (home / file).write_text(Path("/etc", file).read_text() + line)
        _mount("--bind", str(home / file), f"/etc/{file}")
    os.chown(home, _UID, _UID)
    os.setgroups([])
    os.setgid(_UID)
    os.setuid(_UID)
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    os.execve(command[0], command, {**kept, "HOME": str(home), "USER": "bb-test", "PYTHONDONTWRITEBYTECODE": "1"})


def _open_paths(paths: list[Path], home: Path) -> None:
    handle = []
    for number, path in enumerate(paths):
        holder = home / f"held-{number}"
        holder.mkdir()
        _mount("--rbind", str(path), str(holder))
        handle.append((path, holder))
    for closed in {folder for path in paths if (folder := _closed(path))}:
        _mount("-t", "tmpfs", "-o", "mode=755", "none", str(closed))
    for path, holder in handle:
        if not path.exists():
            path.mkdir(parents=True)
            _mount("--rbind", str(holder), str(path))


def _closed(path: Path) -> Path | None:
    """Return the uppermost ancestor of *path* that others may not enter."""
    return next((folder for folder in reversed(path.parents) if not folder.stat().st_mode & stat.S_IXOTH), None)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    run_as_user(Path(sys.argv[1]), sys.argv[2:])
