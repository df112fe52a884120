"""What comes out of a bottle is hostile: a tar stream is unpacked so that nothing outside the target is touched.

On top of tarfile's own `data` filter (PEP 706): every path is walked component by component without following links
(openat with O_NOFOLLOW), only plain files and directories are made while reading, links come last and only those
that lead inside.  See CVE-2018-15664, CVE-2025-4517, CVE-2026-39861 for how each of these was missed elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from bb_jupyter.backend.execution import Execution, StdoutFile
from bb_jupyter.errors import UsageError
from bb_jupyter.policy.obeyed_files import is_taken, is_worth_naming, names_drivers, obeyed_by
from bb_jupyter.text.visible import last_line

#: Most bytes and members that one copy out may bring by default.
MAX_BYTES = 8 << 30
MAX_MEMBERS = 500_000
#: Deepest path of a copy; removing a deeper tree would end in a RecursionError.
MAX_DEPTH = 256
#: Most bytes of one extended header, and of all global ones together: tarfile reads each into memory whole and keeps
#: the global ones.
_MAX_HEADER = 1 << 20
#: Most bytes of all names and link targets together; some of them are kept in memory to the end.
_MAX_NAMES = 128 << 20
_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
#: What is wrong with the target and not with one member.
_TARGET_FAILS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_BUFFER = 1 << 20
#: Bytes from which git itself ignores an attributes file (100 MiB) are more than is read here.
_MAX_ATTRIBUTES = 1 << 20
#: More than follows the end of an archive: tar fills its last block of 10,240 bytes.
_PADDING = 1 << 16
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


#: Most names of each sort that a report keeps, and most characters of one.
_KEPT_NAMES, _LONGEST_NAME = 1000, 1000


@dataclass
class CopyReport:
    """What a copy did, or is about to do.

    Names are as the bottle gave them, cut to 1,000 characters: show them escaped.

    Attributes:
        files: how many files, directories and links were made.
        size: bytes of the files.
        refused: (name, reason) of what cannot be copied; the first thousand.
        left_out: (name, program) of what a program of this host would obey where it lies, and that nobody asked for;
            the first thousand.
        named: content that users run on purpose, such as a Makefile; the first thousand.
        overwritten: files of the target that get another content; the first thousand.
        uncounted: how many more names there were of all these sorts.
        repositories: folders of the copy, relative to the target, whose `.git` was left out.
        history: what came of the commits of those, a line each.
    """

    files: int = 0
    size: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    named: list[str] = field(default_factory=list)
    overwritten: list[str] = field(default_factory=list)
    uncounted: int = 0
    repositories: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)

    def add(self, sort: list[Any], name: str, *more: str) -> None:
        """Add a name to one of the lists, or count it when that is full."""
        if len(sort) < _KEPT_NAMES:
            short = name[:_LONGEST_NAME]
            sort.append((short, *more) if more else short)
        else:
            self.uncounted += 1


#: Called with what is about to be done, before anything of the target changes; an exception ends the copy.
BeforeCopy = Callable[[CopyReport], object]


def nothing(*_: object) -> None:
    """Do nothing."""


def unpack(
    stream: IO[bytes],
    target: Path,
    *,
    max_bytes: int = MAX_BYTES,
    take: Collection[str] = (),
    before: BeforeCopy = nothing,
    check_sender: Callable[[], object] = nothing,
) -> CopyReport:
    """Unpack a tar stream whose single top member is what was copied; all of it, or nothing.

    The files wait in a folder beside the target until the stream has ended well.

    Args:
        stream: uncompressed tar, read in order.
        target: where to: an existing directory takes the top member under its own name, else that becomes *target*.
        max_bytes: most bytes of all files together.
        take: patterns of what is wanted although a program of this host obeys it (see `policy.obeyed_files`); `*` for
            all, such as in a folder that no program looks into.
        before: called before the target changes.
        check_sender: called when the stream has ended; raises when its sender failed.

    Returns:
        What was made, and what was not.

    Raises:
        UsageError: the archive is malformed or too large, or *target* cannot be written; the target is as it was.
    """
    rename = None if target.is_dir() else target.name
    root = target if rename is None else target.parent
    if not root.is_dir():
        raise UsageError(f"cannot copy to {target}: {root} is not a directory")
    try:
        with _folder_beside(root) as waiting:
            unpacking = _Unpacking(waiting, rename, max_bytes, take)
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_BoundedTarInfo, errorlevel=2) as archive:
                unpacking.run(archive)
            check_sender()
            return Placing(root.resolve(), unpacking, take).run(before)
    except (tarfile.TarError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot copy to {target}: the bottle sent a malformed archive ({error})") from None
    except OSError as error:
        raise UsageError(f"cannot copy to {target}: {error.strerror or error}") from None


def receive(execution: Execution, failed: str, target: Path, take: Collection[str], before: BeforeCopy) -> CopyReport:
    """Unpack the archive that a command in the bottle prints.

    Args:
        execution: the command.
        failed: how the message of an error begins.
        target: see `unpack`.
        take: see `unpack`.
        before: see `unpack`.

    Raises:
        UsageError: it failed, or was killed from inside; or see `unpack`.
    """
    stream = io.BufferedReader(StdoutFile(execution), _BUFFER)

    def check_sender() -> None:
        if len(stream.read(_PADDING)) == _PADDING:
            raise tarfile.ReadError("its end is missing")
        done = execution.wait()
        if done.returncode:
            why = last_line(done.stderr) or f"its sender ended with status {done.returncode}"
            raise UsageError(f"{failed}: {why}", hint="Nothing was copied.")

    try:
        return unpack(stream, target, take=take, before=before, check_sender=check_sender)
    except UsageError as error:
        if not execution.running and (status := execution.wait().returncode) and not error.message.startswith(failed):
            why = last_line(execution.wait().stderr) or f"its sender ended with status {status}"
            raise UsageError(f"{failed}: {why}", hint="Nothing was copied.") from None
        raise


@contextlib.contextmanager
def _folder_beside(root: Path) -> Iterator[Path]:
    """Give an empty folder on the file system of *root*, closed to other users; it goes at the end."""
    folder = Path(tempfile.mkdtemp(prefix=".bottle-copy-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _BoundedTarInfo(tarfile.TarInfo):
    """A member whose headers cannot fill the memory."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED and not 0 <= self.size <= _MAX_HEADER:
            raise tarfile.ReadError("a header is too long")
        if self.type == tarfile.XGLTYPE and sum(map(len, archive.pax_headers.values())) > _MAX_HEADER:
            raise tarfile.ReadError("the global headers are too long")
        return super()._proc_member(archive)  # type: ignore[misc, no-any-return]

    def _proc_sparse(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Refuse a sparse file: the map of its holes may be as long as the stream, and tarfile reads it whole."""
        raise tarfile.ReadError("it has sparse files")

    def _proc_gnusparse_10(self, member: object, headers: object, archive: object) -> None:
        raise tarfile.ReadError("it has sparse files")


def _standard_filter(member: tarfile.TarInfo, root: str) -> None:
    """Ask tarfile's own filter too, where this Python has it (PEP 706: from 3.11.4 on)."""
    if hasattr(tarfile, "data_filter"):
        tarfile.data_filter(member, root)


@dataclass
class _Unpacking:
    """Reads an archive into an empty folder."""

    root: Path
    rename: str | None
    budget: int  # bytes of files that may still come
    take: Collection[str]
    report: CopyReport = field(default_factory=CopyReport)
    links: dict[PurePosixPath, str] = field(default_factory=dict)
    made: dict[PurePosixPath, int] = field(default_factory=dict)  # files of this archive, and their sizes
    folders: dict[PurePosixPath, None] = field(default_factory=dict)  # in order
    names: int = 0  # bytes of names so far

    def run(self, archive: tarfile.TarFile) -> None:
        for count, member in enumerate(archive):
            if count >= MAX_MEMBERS:
                raise tarfile.ReadError("too many members")
            self._member(archive, member)
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile remembers every member of a stream

    def _member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        self.names += len(member.name) + len(member.linkname)
        if member.size < 0 or self.names > _MAX_NAMES:
            raise tarfile.ReadError("a negative size" if member.size < 0 else "its names are too long")
        try:
            path = self._path(member.name)
            original = self._path(member.linkname) if member.islnk() else path
            _standard_filter(member, str(self.root))
        except (ValueError, tarfile.TarError) as error:
            return self._refuse(member.name, str(error))
        if self._is_left_out(path) or (member.islnk() and self._is_left_out(original)):
            return
        if member.islnk():
            self._make_copy(member, path, original)
        elif member.issym():
            self.links[path] = member.linkname
        elif member.isdir():
            self._make_dir(member.name, path)
        elif member.isreg():
            self._make_file(archive, member, path)
        else:
            self._refuse(member.name, "special file")

    def _path(self, name: str) -> PurePosixPath:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts or name.startswith("/") or "\0" in name:
            raise ValueError("leaves the target")
        if len(parts) > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} folders deep")
        if self.rename is not None:
            parts[:1] = [self.rename]
        return PurePosixPath(*parts)

    def _is_left_out(self, path: PurePosixPath) -> bool:
        """Return whether *path* belongs to a repository's `.git`, which is not even read."""
        for count, part in enumerate(path.parts, 1):
            above = PurePosixPath(*path.parts[:count])
            if obeyed_by(PurePosixPath(part)) == "git" and part.casefold() != ".gitattributes":
                if is_taken(above, self.take):
                    return False
                if (str(above), "git") not in self.report.left_out:
                    self.report.add(self.report.left_out, str(above), "git")
                    self.report.repositories.append(str(above.parent))
                return True
        return False

    def _make_dir(self, name: str, path: PurePosixPath) -> None:
        try:
            with _open_dir(self.root, path):
                self.folders[path] = None
        except OSError as error:
            self._cannot_make(name, error)

    def _make_file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: PurePosixPath) -> None:
        content = archive.extractfile(member)
        if content is None or not path.name:
            return self._refuse(member.name, "no file")
        self._write(member.name, path, content, member.size, executable=bool(member.mode & 0o100))

    def _make_copy(self, member: tarfile.TarInfo, path: PurePosixPath, original: PurePosixPath) -> None:
        """Make a hard link plain: a copy of the file that this archive brought under the other name."""
        if original not in self.made:
            return self._refuse(member.name, "hard link out of the copy")
        with _open_dir(self.root, original.parent) as folder:
            source = os.open(original.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(source, "rb") as content:
            executable = bool(os.fstat(source).st_mode & 0o100)
            self._write(member.name, path, content, self.made[original], executable=executable)

    def _write(self, name: str, path: PurePosixPath, content: IO[bytes], size: int, *, executable: bool) -> None:
        self.budget -= size
        if self.budget < 0:
            raise tarfile.ReadError("larger than the limit of a copy")
        try:
            with _open_dir(self.root, path.parent) as folder:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path.name, dir_fd=folder)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                file = os.open(path.name, flags, 0o755 if executable else 0o644, dir_fd=folder)
        except OSError as error:
            return self._cannot_make(name, error)
        with os.fdopen(file, "wb") as out:
            shutil.copyfileobj(content, out, 1 << 20)
        self.made[path] = size

    def _cannot_make(self, name: str, error: OSError) -> None:
        if error.errno in _TARGET_FAILS:
            raise error
        self._refuse(name, error.strerror or "cannot be made")

    def _refuse(self, name: str, why: str) -> None:
        self.report.add(self.report.refused, name, why)


class Placing:
    """Moves what was unpacked to its place.

    Args:
        root: the folder that it goes into.
        unpacked: what waits.
        take: patterns of what is wanted although a program of this host obeys it.
    """

    def __init__(self, root: Path, unpacked: _Unpacking, take: Collection[str]) -> None:
        self._root, self._unpacked, self._take = root, unpacked, take
        self._report = unpacked.report
        self._bare: dict[PurePosixPath, bool] = {}
        self._in_git = any(part.casefold() == ".git" for part in root.parts)

    def run(self, before: BeforeCopy) -> CopyReport:
        """Decide about every file, say so by *before*, and move."""
        unpacked, report = self._unpacked, self._report
        files = [path for path in unpacked.made if self._is_wanted(path)]
        links = {path: target for path, target in unpacked.links.items() if self._is_wanted(path)}
        for path in files:
            if self._differs(path):
                report.add(report.overwritten, str(path))
        report.size = sum(unpacked.made[path] for path in files)
        before(report)
        for folder in unpacked.folders:
            self._place_folder(folder)
        for path in files:
            self._place_file(path)
        self._make_links(links)
        return report

    def _is_wanted(self, path: PurePosixPath) -> bool:
        program = self._obeyed_by(path)
        if program and not is_taken(path, self._take):
            if path in self._unpacked.links or self._differs(path) is not False:
                self._report.add(self._report.left_out, str(path), program)
            return False
        if is_worth_naming(path):
            self._report.add(self._report.named, str(path))
        return True

    def _obeyed_by(self, path: PurePosixPath) -> str:
        if program := obeyed_by(path):
            return "" if self._is_plain_attributes(path) else program
        if self._in_git or any(map(self._is_bare_repository, path.parents)):
            return "git"
        return "your login" if self._starts_a_login(path) else ""

    def _is_plain_attributes(self, path: PurePosixPath) -> bool:
        """Return whether a file is a `.gitattributes` that names no driver."""
        if path.name != ".gitattributes" or obeyed_by(path.parent):
            return False
        size = self._unpacked.made.get(path, _MAX_ATTRIBUTES)
        return size < _MAX_ATTRIBUTES and not names_drivers(self._waiting(path).read_bytes())

    def _is_bare_repository(self, folder: PurePosixPath) -> bool:
        """Return whether git takes a folder for a repository, with what lies in the target already."""
        if folder not in self._bare:
            parts = [folder / name for name in ("HEAD", "objects", "refs")]
            self._bare[folder] = all(map(self._will_be_there, parts))
        return self._bare[folder]

    def _will_be_there(self, path: PurePosixPath) -> bool:
        found = (self._unpacked.made, self._unpacked.folders, self._unpacked.links)
        return any(path in each for each in found) or os.path.lexists(self._root / path)

    def _starts_a_login(self, path: PurePosixPath) -> bool:
        """Return whether *path* is a dot file of a home, or lies in one: shells and desktops run those."""
        try:
            depth = len((self._root / path).relative_to(Path.home().resolve()).parts)
        except (ValueError, RuntimeError):
            return False
        top = path.parts[-depth] if depth <= len(path.parts) else ""
        return top.startswith(".") or top == "bin"

    def _differs(self, path: PurePosixPath) -> bool | None:
        """Return whether the target has another file of that name; `None` when it has none."""
        place = self._root / path
        if not os.path.lexists(place):
            return None
        if place.is_symlink() or not place.is_file() or place.stat().st_size != self._unpacked.made.get(path):
            return True
        return not filecmp.cmp(self._waiting(path), place, shallow=False)

    def _waiting(self, path: PurePosixPath) -> Path:
        return self._unpacked.root / path

    def _place_folder(self, path: PurePosixPath) -> None:
        if self._obeyed_by(path / "x") and not is_taken(path, self._take):
            return
        try:
            with _open_dir(self._root, path):
                self._report.files += 1
        except OSError as error:
            self._cannot_make(path, error)

    def _place_file(self, path: PurePosixPath) -> None:
        try:
            with _open_dir(self._root, path.parent) as folder:
                os.rename(self._waiting(path), path.name, dst_dir_fd=folder)
        except OSError as error:
            return self._cannot_make(path, error)
        self._report.files += 1

    def _make_links(self, links: Mapping[PurePosixPath, str]) -> None:
        """Make the links, then remove every one that leads outside once all of them exist (a chain may)."""
        made: list[PurePosixPath] = []
        for path, target in links.items():
            try:
                with _open_dir(self._root, path.parent) as folder:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path.name, dir_fd=folder)
                    os.symlink(target, path.name, dir_fd=folder)
                made.append(path)
            except OSError as error:
                self._cannot_make(path, error)
        # The copy itself, not the folder that takes it: what lies beside it there is the host's own.
        while leaving := [link for link in made if not _leads_inside(self._root / link, self._root / link.parts[0])]:
            for path in leaving:
                (self._root / path).unlink(missing_ok=True)
                made.remove(path)
                self._report.add(self._report.refused, str(path), "link out of the copy")
        self._report.files += len(made)

    def _cannot_make(self, path: PurePosixPath, error: OSError) -> None:
        if error.errno in _TARGET_FAILS:
            raise error
        self._report.add(self._report.refused, str(path), error.strerror or "cannot be made")


@contextlib.contextmanager
def _open_dir(root: Path, path: PurePosixPath) -> Iterator[int]:
    """Open a directory below *root*, making what is missing, through no link."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in path.parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=folder)
            inner = os.open(part, _DIR_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _leads_inside(link: Path, root: Path) -> bool:
    try:
        return Path(os.path.realpath(link, strict=False)).is_relative_to(root)
    except (OSError, ValueError):
        return False
