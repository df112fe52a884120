"""What goes into a bottle from the host: chosen by ignore rules, listed in the preflight, packed as a tar stream.

Names are taken literally, files are opened without following links, and what looks like a credential stays out unless
the user asks for it (`policy.credential_files`): nothing that a workspace holds can let it in.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO

import pathspec

from bb_jupyter.backend.spec import Copy
from bb_jupyter.errors import UsageError
from bb_jupyter.manifest import about_size
from bb_jupyter.policy.credential_files import SCANNED, by_content, by_name
from bb_jupyter.policy.obeyed_files import is_taken
from bb_jupyter.text.visible import one_line

#: Files whose lines keep other files out, in the syntax of gitignore.
IGNORE_FILES = (".gitignore", ".bottleignore")
#: Most bytes of an ignore file, characters and ambiguous wildcards of a rule, and rules of a file that are followed: a
#: repository writes them, and the time of a match grows with the power of its wildcards.
_MAX_RULES_FILE, _MAX_RULE, _MAX_WILDCARDS, _MAX_RULES = 256 << 10, 1000, 2, 2000
#: Deepest folder of a copy.
_MAX_DEPTH = 200


@dataclass(frozen=True)
class CopyPlan:
    """One thing to copy in, looked through.

    Attributes:
        copy: source and target.
        members: paths below the source, parents first; empty when the source is a single file.
        size: bytes of all files.
        ignored: how many entries an ignore rule kept out.
        sensitive: entries that look like credentials and stay out.
        unread_rules: ignore rules that are not followed, and why.
        special: devices, FIFOs, sockets and links out of the tree, which stay out.
    """

    copy: Copy
    members: tuple[str, ...] = ()
    size: int = 0
    ignored: int = 0
    sensitive: tuple[str, ...] = ()
    special: tuple[str, ...] = ()
    unread_rules: tuple[str, ...] = ()

    @property
    def refused(self) -> list[tuple[str, str]]:
        """What stays out, and why."""
        secret = [(name, "looks like a credential; --take takes it in") for name in self.sensitive]
        return secret + [(name, "special file") for name in self.special]

    def __str__(self) -> str:
        count = len(self.members)
        what = f"{count} {'entry' if count == 1 else 'entries'}, " if count else ""
        text = f"{self.copy.source} → {self.copy.target} ({what}{about_size(self.size)}"
        if self.ignored:
            text += f", {self.ignored} ignored"
        for label, names in (("left out as sensitive", self.sensitive), ("left out", self.special)):
            if names:
                text += f", {label}: {_some(names)}"
        if self.unread_rules:
            text += f", rules not followed: {_some(self.unread_rules)}"
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
        honour_rules: apply ignore files to a directory's entries; credentials stay out in any case.

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
    unread_rules: list[str] = field(default_factory=list)
    size: int = 0
    ignored: int = 0

    def plan(self) -> CopyPlan:
        self._visit("", [])
        return CopyPlan(
            self.copy,
            tuple(self.members),
            self.size,
            self.ignored,
            tuple(self.sensitive),
            tuple(self.special),
            tuple(self.unread_rules),
        )

    def _visit(self, folder: str, rules: list[tuple[str, pathspec.GitIgnoreSpec]]) -> None:
        if folder.count("/") >= _MAX_DEPTH:
            raise UsageError(
                f"cannot copy {self.copy.source}: folders are nested more than {_MAX_DEPTH} deep",
                hint="Copy the folders that you need.",
            )
        if self.honour_rules:
            rules = rules + list(self._rules_of(folder))
        with os.scandir(self.copy.source / folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                self._look(entry, f"{folder}/{entry.name}" if folder else entry.name, rules)

    def _look(self, entry: os.DirEntry[str], path: str, rules: list[tuple[str, pathspec.GitIgnoreSpec]]) -> None:
        is_dir = entry.is_dir(follow_symlinks=False)
        if _is_ignored(path + "/" * is_dir, rules):
            self.ignored += 1
        elif not is_dir and self._is_credential(path):
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
                with file.open("rb") as stream:
                    content = stream.read(_MAX_RULES_FILE + 1)
                shown = f"{folder}/{name}" if folder else name
                yield folder, pathspec.GitIgnoreSpec.from_lines(self._followed(content, shown))

    def _followed(self, content: bytes, shown: str) -> list[str]:
        """Return the rules of an ignore file that are matched in a short time."""
        if len(content) > _MAX_RULES_FILE or b"\0" in content:
            self.unread_rules.append(f"{shown} (too large, or not text)")
            return []
        followed: list[str] = []
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
            if len(followed) < _MAX_RULES and len(line) <= _MAX_RULE and _wildcards(line) <= _MAX_WILDCARDS:
                try:
                    pathspec.GitIgnoreSpec.from_lines([line])
                except Exception:  # re.error, ValueError: what a pattern of the library raises is not one type
                    self.unread_rules.append(f"{shown} line {number} (not a rule)")
                    continue
                followed.append(line)
            elif not line.startswith("#"):
                self.unread_rules.append(f"{shown} line {number} (too long, or too many wildcards or rules)")
        return followed

    def _is_credential(self, path: str) -> bool:
        """Whether a file or link stays out; the folders above the source count as well."""
        if self.copy.take and is_taken(PurePosixPath(path), self.copy.take):
            return False
        place = f"{self.root}/{path}"
        whole = PurePosixPath(place)
        if by_name(whole):
            return True
        try:
            if not stat.S_ISREG(os.stat(place).st_mode):  # noqa: PTH116 -- ten thousand files take twice as long by Path
                return False
            file = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(file, "rb", buffering=0) as content:
                return bool(by_content(whole, content.read(SCANNED) or b""))
        except OSError:
            return False  # a link that leads nowhere holds nothing, and packing reports what cannot be read

    @cached_property
    def root(self) -> str:
        """The source's real path: the folders above it count as well."""
        return str(self.copy.source.resolve())

    def _stays_inside(self, path: str) -> bool:
        target = (self.copy.source / path).readlink()
        resolved = PurePosixPath(os.path.normpath(PurePosixPath(path).parent / target))
        return not target.is_absolute() and resolved.parts[:1] != ("..",)


def _is_ignored(path: str, rules: list[tuple[str, pathspec.GitIgnoreSpec]]) -> bool:
    """Whether an ignore rule keeps a path out; the last one that matches decides."""
    for folder, spec in reversed(rules):
        included = spec.check_file(path.removeprefix(f"{folder}/") if folder else path).include
        if included is not None:
            return included
    return False


def _wildcards(rule: str) -> int:
    """Count the wildcards of a rule after which a match has more than one place to go on."""
    parts = [re.sub(r"\*+", "*", part) for part in rule.split("/")]
    return sum(max(0, part.count("*") - 1) for part in parts) + sum(part == "**" for part in rule.split("/")[1:-1])


def _some(names: tuple[str, ...], most: int = 5) -> str:
    shown = ", ".join(one_line(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
