"""What comes out of a bottle is hostile: a tar stream is unpacked so that nothing outside the target is touched.

On top of tarfile's own `data` filter (PEP 706): every path is walked component by component without following links
(openat with O_NOFOLLOW), only plain files and directories are made while reading, links come last and only those
that lead inside.  See CVE-2018-15664, CVE-2025-4517, CVE-2026-39861 for how each of these was missed elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from bb_jupyter.errors import UsageError

#: Most bytes and members that one copy out may bring by default.
MAX_BYTES = 8 << 30
MAX_MEMBERS = 500_000
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
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class CopyReport:
    """What a copy did.

    Attributes:
        files: how many files, directories and links were made.
        size: bytes of the files.
        refused: (name, reason) of what was not copied; names as the bottle gave them, to be shown escaped.
    """

    files: int = 0
    size: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


def unpack(stream: IO[bytes], target: Path, *, max_bytes: int = MAX_BYTES) -> CopyReport:
    """Unpack a tar stream whose single top member is what was copied.

    Args:
        stream: uncompressed tar, read in order.
        target: where to: an existing directory takes the top member under its own name, else that becomes *target*.
        max_bytes: most bytes of all files together.

    Returns:
        What was made and what was refused.

    Raises:
        UsageError: the archive is malformed or too large, or *target* cannot be written.
    """
    rename = None if target.is_dir() else target.name
    root = target if rename is None else target.parent
    if not root.is_dir():
        raise UsageError(f"cannot copy to {target}: {root} is not a directory")
    try:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_BoundedTarInfo, errorlevel=2) as archive:
            return _Unpacking(root, rename, max_bytes).run(archive)
    except (tarfile.TarError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot copy to {target}: the bottle sent a malformed archive ({error})") from None
    except OSError as error:
        raise UsageError(f"cannot copy to {target}: {error.strerror or error}") from None


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
    root: Path
    rename: str | None
    budget: int  # bytes of files that may still come
    report: CopyReport = field(default_factory=CopyReport)
    links: list[tuple[PurePosixPath, str]] = field(default_factory=list)
    made: dict[PurePosixPath, int] = field(default_factory=dict)  # files of this archive, and their sizes
    names: int = 0  # bytes of names so far

    def run(self, archive: tarfile.TarFile) -> CopyReport:
        for count, member in enumerate(archive):
            if count >= MAX_MEMBERS:
                raise tarfile.ReadError("too many members")
            self._member(archive, member)
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile remembers every member of a stream
        self._make_links()
        return self.report

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
        if member.islnk():
            self._make_copy(member, path, original)
        elif member.issym():
            self.links.append((path, member.linkname))
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
        if self.rename is not None:
            parts[:1] = [self.rename]
        return PurePosixPath(*parts)

    def _make_dir(self, name: str, path: PurePosixPath) -> None:
        try:
            with self._open_dir(path):
                self.report.files += 1
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
        with self._open_dir(original.parent) as folder:
            source = os.open(original.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(source, "rb") as content:
            executable = bool(os.fstat(source).st_mode & 0o100)
            self._write(member.name, path, content, self.made[original], executable=executable)

    def _write(self, name: str, path: PurePosixPath, content: IO[bytes], size: int, *, executable: bool) -> None:
        self.budget -= size
        if self.budget < 0:
            raise tarfile.ReadError("larger than the limit of a copy")
        try:
            with self._open_dir(path.parent) as folder:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path.name, dir_fd=folder)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                file = os.open(path.name, flags, 0o755 if executable else 0o644, dir_fd=folder)
        except OSError as error:
            return self._cannot_make(name, error)
        with os.fdopen(file, "wb") as out:
            shutil.copyfileobj(content, out, 1 << 20)
        self.made[path] = size
        self.report.files += 1
        self.report.size += size

    @contextlib.contextmanager
    def _open_dir(self, path: PurePosixPath) -> Iterator[int]:
        """Open a directory below the root, making what is missing, through no link."""
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
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

    def _make_links(self) -> None:
        """Make the links, then remove every one that leads outside once all of them exist (a chain may)."""
        made: list[tuple[PurePosixPath, str]] = []
        for path, target in self.links:
            try:
                with self._open_dir(path.parent) as folder:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(path.name, dir_fd=folder)
                    os.symlink(target, path.name, dir_fd=folder)
                made.append((path, target))
            except OSError as error:
                self._cannot_make(str(path), error)
        inside = self.root.resolve()
        # The copy itself, not the folder that takes it: what lies beside it there is the host's own.
        while leaving := [link for link in made if not _leads_inside(inside / link[0], inside / link[0].parts[0])]:
            for path, target in leaving:
                (inside / path).unlink(missing_ok=True)
                made.remove((path, target))
                self._refuse(str(path), "link out of the copy")
        self.report.files += len(made)

    def _cannot_make(self, name: str, error: OSError) -> None:
        if error.errno in _TARGET_FAILS:
            raise error
        self._refuse(name, error.strerror or "cannot be made")

    def _refuse(self, name: str, why: str) -> None:
        self.report.refused.append((name, why))


def _leads_inside(link: Path, root: Path) -> bool:
    try:
        return Path(os.path.realpath(link, strict=False)).is_relative_to(root)
    except (OSError, ValueError):
        return False
