"""Workspaces: packed once and named by their content; and the agent's changes to one, as a diff."""

from __future__ import annotations

import difflib
import hashlib
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bb_jupyter.agent.guest import STEP_TIMEOUT, Guest
from bb_jupyter.backend.shared.archive import unpack
from bb_jupyter.backend.shared.copying import pack, plan_copy
from bb_jupyter.backend.spec import Copy
from bb_jupyter.errors import UsageError
from bb_jupyter.experiment.definition import WORK, Workspace
from bb_jupyter.text.visible import one_line

#: Most files in a diff, most bytes of one file, and most lines that are compared; beyond these, a diff only states that
#: the file changed.  `difflib` takes quadratic time, and its input is hostile.
MAX_FILES, MAX_BYTES, MAX_LINES = 200, 256 << 10, 4000
#: Keep git from fetching the missing objects of a partial clone, which could run programs named in its settings.
_GIT_ENV = {
    **{"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
    **{"GIT_ALLOW_PROTOCOL": "", "GIT_NO_LAZY_FETCH": "1"},
}
# Prints one file with a mark: `l` and a link's target, `f` and the content, or `-` for anything else.
_SHOW = """
cd "$1" || exit 1
if [ -L "$2" ]; then printf l; readlink -- "$2"
elif [ -f "$2" ]; then printf f; head -c "$3" -- "$2"
else printf -
fi
"""


@dataclass(frozen=True)
class Packed:
    """A packed tree.

    Attributes:
        digest: SHA-256 of names, modes and contents.
        size: bytes of all files.
        entries: number of files, directories and links.
        left_out: paths left out because they look like credentials or are special files.
    """

    digest: str
    size: int
    entries: int
    left_out: tuple[str, ...] = ()


def pack_workspace(workspace: Workspace, inputs: Path) -> Packed:
    """Pack a workspace into the folder *inputs*.

    Raises:
        UsageError: there is no such directory, repository or commit.
    """
    if workspace.directory:
        return pack_tree(Path(workspace.directory), inputs)
    with tempfile.TemporaryDirectory(prefix="bb-commit-") as folder:
        _check_out(Path(workspace.git), workspace.commit, Path(folder, "tree"))
        return pack_tree(Path(folder, "tree"), inputs, honour_rules=False)


def pack_tree(source: Path, inputs: Path, *, honour_rules: bool = True) -> Packed:
    """Pack a file or directory of this host into the folder *inputs*.

    Args:
        source: the file or directory.
        inputs: the folder.
        honour_rules: leave out ignored files; those that look like credentials stay out in any case.
    """
    plan = plan_copy(Copy(source, PurePosixPath(WORK)), honour_rules=honour_rules)
    with tempfile.NamedTemporaryFile(dir=inputs, delete=False) as file:
        pack(plan, file, name=source.name if source.is_file() else WORK, uid=0, gid=0)
    digest = _digest(Path(file.name))
    Path(file.name).replace(inputs / f"{digest}.tar")
    return Packed(digest, plan.size, max(1, len(plan.members)), (*plan.sensitive, *plan.special))


def unpacked(inputs: Path, digest: str, target: Path) -> Path:
    """Unpack an archive of `pack_tree` into *target*, a new directory, and return it.

    Raises:
        UsageError: the archive is missing or was changed.
    """
    archive = inputs / f"{digest}.tar"
    if not archive.is_file() or _digest(archive) != digest:
        raise UsageError(f"the experiment's input {digest[:12]} is gone or was changed", hint=f"It was {archive}.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as members:
        first = members.next()
    if first is None or not first.isdir():
        target.mkdir()  # a single file is put into a folder under its own name
    with archive.open("rb") as stream:
        unpack(stream, target, take=("*",))
    return target


def _digest(archive: Path) -> str:
    """Return a hash of names, modes and contents, without times and owners."""
    total = hashlib.sha256()
    with tarfile.open(archive) as members:
        for member in members:
            total.update(repr((member.name, member.mode, member.type, member.linkname, member.size)).encode())
            content = members.extractfile(member) if member.isreg() else None
            while content is not None and (piece := content.read(1 << 20)):
                total.update(piece)
    return total.hexdigest()


def _check_out(repository: Path, commit: str, target: Path) -> None:
    """Write the files of a commit to *target*.

    A new repository reads the objects of the other one, so that the other one's hooks, filters and settings have no
    effect.
    """
    if commit.startswith("-"):
        raise UsageError(f"not a commit: {commit!r}")
    own = target.parent / "objects.git"
    sha = _git(repository, "rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}").strip()
    objects = repository / _git(repository, "rev-parse", "--git-path", "objects").rstrip("\n")
    _git(target.parent, "init", "--quiet", "--bare", "--template=", str(own))
    (own / "objects" / "info" / "alternates").write_text(f"{objects.resolve()}\n", errors="surrogateescape")
    archive = target.parent / "tree.tar"
    _git(own, "archive", "--format=tar", f"--prefix={target.name}/", f"--output={archive}", sha)
    with archive.open("rb") as stream:
        unpack(stream, target, take=("*",))


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            env={**os.environ, **_GIT_ENV},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=600,
            check=False,
        )
    except FileNotFoundError:
        raise UsageError("a workspace from a commit needs git", hint="Install git, or give a directory.") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it failed"])[-1]
        raise UsageError(f"git {arguments[0]} in {folder}: {reason}")
    return done.stdout


def diff(bottle: Guest, home: str, before: Path | None, names: Sequence[str]) -> str:
    """Return the agent's changes to the workspace as a unified diff.

    Args:
        bottle: the agent's bottle.
        home: the bottle's home.
        before: folder of this host with the workspace before the run; `None` for an empty one.
        names: files that are new, changed or deleted, as the bottle names them; hostile.
    """
    parts = [
        _diff_of(name, _before(before, name), _after(bottle, f"{home}/{WORK}", name)) for name in names[:MAX_FILES]
    ]
    if len(names) > MAX_FILES:
        parts.append(f"… and {len(names) - MAX_FILES} more files\n")
    return "".join(parts)


def _before(folder: Path | None, name: str) -> bytes:
    """Return a file's old content as `_SHOW` prints it; a name from the bottle never leads out of *folder*."""
    parts = PurePosixPath(name).parts
    if folder is None or ".." in parts or name.startswith("/") or "\0" in name:
        return b"-"
    path = folder
    for part in parts[:-1]:
        path /= part
        if path.is_symlink():
            return b"-"
    path /= parts[-1] if parts else ""
    try:
        if path.is_symlink():
            return b"l" + os.fsencode(path.readlink()) + b"\n"
        with path.open("rb") as file:
            return b"f" + file.read(MAX_BYTES + 1)
    except OSError:
        return b"-"


def _after(bottle: Guest, top: str, name: str) -> bytes:
    if "\0" in name:
        return b"-"
    done = bottle.exec(["sh", "-c", _SHOW, "sh", top, f"./{name}", str(MAX_BYTES + 1)], timeout=STEP_TIMEOUT).wait()
    return done.stdout if done.returncode == 0 else b"-"


def _diff_of(name: str, old: bytes, new: bytes) -> str:
    shown = one_line(name)
    titles = ("/dev/null" if old == b"-" else f"a/{shown}", "/dev/null" if new == b"-" else f"b/{shown}")
    if any(len(side) > MAX_BYTES or b"\0" in side for side in (old, new)):
        return f"--- {titles[0]}\n+++ {titles[1]}\nbinary or too large to show\n"
    lines = [_lines(side) for side in (old, new)]
    if max(map(len, lines)) > MAX_LINES:
        return f"--- {titles[0]}\n+++ {titles[1]}\n{len(lines[0])} lines, now {len(lines[1])}: too many to compare\n"
    return "".join(difflib.unified_diff(lines[0], lines[1], *titles))


def _lines(side: bytes) -> list[str]:
    kind, text = side[:1], side[1:].decode("utf-8", "replace")
    lines = [f"link to {text}"] if kind == b"l" else text.split("\n")
    whole = [f"{line}\n" for line in lines[:-1]]
    return [*whole, f"{lines[-1]}\n\\ No newline at end of file\n"] if lines[-1] else whole
