"""What goes into a bottle from the host: chosen by ignore rules, listed in the preflight, packed as a tar stream.

Names are taken literally, files are opened without following links, and what looks like a credential stays out unless
the user names that very file.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

import pathspec

from bb_jupyter.backend.spec import Copy
from bb_jupyter.errors import UsageError
from bb_jupyter.manifest import about_size
from bb_jupyter.text.visible import one_line

#: Files whose lines keep other files out, in the syntax of gitignore.
IGNORE_FILES = (".gitignore", ".bottleignore")
#: What stays out of a copied directory because it usually holds a credential.  `!name` in `.bottleignore` lets one in.
SENSITIVE = (
    ".env", ".env.*", "!.env.example", ".netrc", ".npmrc", ".pypirc", ".git-credentials", ".aws/", ".ssh/", ".gnupg/",
    ".docker/config.json", ".kube/config", "*.pem", "*.key", "*.p12", "*.pfx", "id_rsa", "id_dsa", "id_ecdsa",
    "id_ed25519", ".git/config", ".bot-bottle/secrets/",
)  # fmt: skip


@dataclass(frozen=True)
class CopyPlan:
    """One thing to copy in, looked through.

    Attributes:
        copy: source and target.
        members: paths below the source, parents first; empty when the source is a single file.
        size: bytes of all files.
        ignored: how many entries an ignore rule kept out.
        sensitive: entries that look like credentials and stay out.
        special: devices, FIFOs, sockets and links out of the tree, which stay out.
    """

    copy: Copy
    members: tuple[str, ...] = ()
    size: int = 0
    ignored: int = 0
    sensitive: tuple[str, ...] = ()
    special: tuple[str, ...] = ()

    def __str__(self) -> str:
        count = len(self.members)
        what = f"{count} {'entry' if count == 1 else 'entries'}, " if count else ""
        text = f"{self.copy.source} → {self.copy.target} ({what}{about_size(self.size)}"
        if self.ignored:
            text += f", {self.ignored} ignored"
        for label, names in (("left out as sensitive", self.sensitive), ("left out", self.special)):
            if names:
                text += f", {label}: {_some(names)}"
        return text + ")"


def plan_copies(copies: Iterable[Copy]) -> tuple[CopyPlan, ...]:
    """Look through every source.

    Raises:
        UsageError: a source does not exist or cannot be read.
    """
    return tuple(plan_copy(copy) for copy in copies)


def plan_copy(copy: Copy, *, honour_rules: bool = True) -> CopyPlan:
    """Look through one source.

    Args:
        copy: what to copy.
        honour_rules: apply ignore files and the list of sensitive names to a directory's entries.

    Raises:
        UsageError: the source does not exist or cannot be read.
    """
    source = copy.source
    try:
        mode = source.stat().st_mode
        if stat.S_ISREG(mode):
            return CopyPlan(copy, size=source.stat().st_size)
        if not stat.S_ISDIR(mode):
            raise UsageError(f"cannot copy {source}: neither a file nor a directory")
        return _Walk(copy, honour_rules).plan()
    except OSError as error:
        raise UsageError(
            f"cannot copy {source}: {error.strerror}", hint="Relative paths are below this notebook's folder."
        ) from None


def pack(plan: CopyPlan, file: IO[bytes], *, name: str, uid: int, gid: int) -> None:
    """Write *plan* as an uncompressed tar archive.

    Args:
        plan: what to pack.
        file: where to, written in order.
        name: what the source is called in the archive; `.` puts a directory's entries at the top.
        uid: owner of every member.
        gid: group of every member.

    Raises:
        OSError: a file cannot be read or *file* cannot be written.
    """
    source = plan.copy.source
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for relative in ("", *plan.members):
            path = source / relative if relative else source
            _add(archive, path, f"{name}/{relative}" if relative else name, uid, gid, follow=not relative)


def _add(archive: tarfile.TarFile, path: Path, name: str, uid: int, gid: int, *, follow: bool) -> None:
    info = tarfile.TarInfo(name)
    info.uid, info.gid, info.uname, info.gname = uid, gid, "", ""
    status = path.stat(follow_symlinks=follow)
    info.mtime, info.mode = int(status.st_mtime), stat.S_IMODE(status.st_mode) & 0o755 | 0o600
    if stat.S_ISLNK(status.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, str(path.readlink())
        archive.addfile(info)
    elif stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, info.mode | 0o700
        archive.addfile(info)
    else:
        # What changed into something else since it was looked at is not followed and does not block.
        flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
        with os.fdopen(os.open(path, flags), "rb") as content:
            info.size = os.fstat(content.fileno()).st_size
            archive.addfile(info, content)


@dataclass
class _Walk:
    """One look through a directory."""

    copy: Copy
    honour_rules: bool
    members: list[str] = field(default_factory=list)
    sensitive: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    size: int = 0
    ignored: int = 0

    def plan(self) -> CopyPlan:
        self._visit("", [])
        return CopyPlan(
            self.copy, tuple(self.members), self.size, self.ignored, tuple(self.sensitive), tuple(self.special)
        )

    def _visit(self, folder: str, rules: list[tuple[str, pathspec.GitIgnoreSpec]]) -> None:
        if self.honour_rules:
            rules = rules + list(self._rules_of(folder))
        with os.scandir(self.copy.source / folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                self._look(entry, f"{folder}/{entry.name}" if folder else entry.name, rules)

    def _look(self, entry: os.DirEntry[str], path: str, rules: list[tuple[str, pathspec.GitIgnoreSpec]]) -> None:
        is_dir = entry.is_dir(follow_symlinks=False)
        verdict = _verdict(path + "/" * is_dir, rules) if self.honour_rules else "take"
        if verdict == "ignored":
            self.ignored += 1
        elif verdict == "sensitive":
            self.sensitive.append(path)
        elif is_dir:
            self.members.append(path)
            self._visit(path, rules)
        elif entry.is_file(follow_symlinks=False):
            self.members.append(path)
            self.size += entry.stat(follow_symlinks=False).st_size
        elif entry.is_symlink() and self._stays_inside(path):
            self.members.append(path)
        else:
            self.special.append(path)

    def _rules_of(self, folder: str) -> Iterator[tuple[str, pathspec.GitIgnoreSpec]]:
        for name in IGNORE_FILES:
            file = self.copy.source / folder / name
            if file.is_file() and not file.is_symlink():
                lines = file.read_text(errors="replace").splitlines()
                yield folder, pathspec.GitIgnoreSpec.from_lines(lines)

    def _stays_inside(self, path: str) -> bool:
        target = (self.copy.source / path).readlink()
        resolved = PurePosixPath(os.path.normpath(PurePosixPath(path).parent / target))
        return not target.is_absolute() and resolved.parts[:1] != ("..",)


def _verdict(path: str, rules: list[tuple[str, pathspec.GitIgnoreSpec]]) -> str:
    """Say whether to `take` a path, or why not; the last rule that speaks of it decides."""
    for folder, spec in reversed(rules):
        included = spec.check_file(path.removeprefix(f"{folder}/") if folder else path).include
        if included is not None:
            return "ignored" if included else "take"
    return "sensitive" if _SENSITIVE.match_file(path) else "take"


_SENSITIVE = pathspec.GitIgnoreSpec.from_lines(SENSITIVE)


def _some(names: tuple[str, ...], most: int = 5) -> str:
    shown = ", ".join(one_line(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
