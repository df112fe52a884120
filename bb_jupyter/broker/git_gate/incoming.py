"""Exactly the objects that a push would bring upstream: reachable from it, and from nothing that upstream has."""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from bb_jupyter.broker.git_gate.environment import GitFailed, git, receiving
from bb_jupyter.errors import BottleError

MOST_OBJECTS: Final = 200_000
"""Objects in one push: more than that nobody can look at."""
_MOST_CHANGES: Final = 200_000
"""Changes of paths by its commits, so too; a tree that holds another many times makes many of few objects."""
_EXPANSION: Final = 10
"""How many times the size of its pack a push may have unpacked."""
_FOLDER: Final = "040000"
_CHUNK: Final = 8 << 20
_OVERLAP: Final = 8 << 10
_TIMEOUT: Final = 300.0


class TooBig(BottleError):
    """A push that nobody can check."""


@dataclass(frozen=True, slots=True)
class Change:
    """A path that an incoming commit changes: the object before and after (all zeros for none)."""

    commit: str
    path: bytes
    old: str
    new: str
    folder: bool


@dataclass(slots=True)
class Incoming:
    """What a push brings.

    Attributes:
        folder: the mirror.
        objects: by type, in git's order: newest commits first.
        size: bytes of all of them, unpacked.
    """

    folder: Path
    objects: dict[str, list[str]] = field(default_factory=dict)
    size: int = 0

    @classmethod
    def find(cls, folder: Path, tips: Iterable[str], known: Iterable[str], max_push: int) -> Incoming:
        """List the objects.

        Args:
            folder: the mirror.
            tips: what is pushed.
            known: what upstream has.
            max_push: bytes that a push may bring.

        Raises:
            TooBig: there are too many, or they are too big unpacked.
            GitFailed: they are not all there.
        """
        revisions = "".join([*(f"{sha}\n" for sha in tips), *(f"^{sha}\n" for sha in {*known})]).encode()
        command = ["rev-list", "--objects", "--no-object-names", "--stdin"]
        listed = _run(command, folder, revisions)
        if listed.count(b"\n") > MOST_OBJECTS:
            raise TooBig(f"more than {MOST_OBJECTS} objects in one push")
        incoming = cls(folder)
        check = ["cat-file", "--batch-check=%(objecttype) %(objectsize) %(objectname)", "--buffer"]
        for line in _run(check, folder, listed).decode("ascii").splitlines():
            kind, size, sha = line.split(" ")
            incoming.objects.setdefault(kind, []).append(sha)
            incoming.size += int(size)
        if incoming.size > _EXPANSION * max_push:
            raise TooBig(
                f"{incoming.size >> 20} MiB unpacked, allowed are {_EXPANSION * max_push >> 20} MiB (max_push)"
            )
        return incoming

    @property
    def commits(self) -> list[str]:
        """Names of the commits, newest first."""
        return self.objects.get("commit", [])

    def changes(self) -> Iterator[Change]:
        """Yield what each commit changes beside each of its parents, folders too.

        Raises:
            TooBig: these are too many.
        """
        command = ["diff-tree", "--stdin", "-r", "-t", "-m", "--root", "-z", "--no-renames"]
        with _Process(command, self.folder, "".join(f"{sha}\n" for sha in self.commits).encode()) as output:
            fields, commit, count = _split(output), "", 0
            for item in fields:
                if item.startswith(b":"):
                    if (count := count + 1) > _MOST_CHANGES:
                        raise TooBig(f"more than {_MOST_CHANGES} changes in one push")
                    before, after, old, new, _ = item[1:].decode("ascii").split(" ")
                    yield Change(commit, next(fields), old, new, _FOLDER in (before, after))
                else:
                    commit = item.decode("ascii").strip()[:40]

    def contents(self, kinds: Sequence[str] = ("commit", "tag", "blob")) -> Iterator[tuple[str, str, int, bytes]]:
        """Yield the objects' bytes, big ones in overlapping parts: kind, name, lines before this part, bytes."""
        wanted = "".join(f"{sha}\n" for kind in kinds for sha in self.objects.get(kind, ()))
        with _Process(["cat-file", "--batch", "--buffer"], self.folder, wanted.encode()) as output:
            while header := output.readline():
                sha, kind, size = header.decode("ascii").split()
                yield from ((kind, sha, lines, part) for lines, part in _parts(output, int(size)))
                output.read(1)


def _parts(output: IO[bytes], left: int) -> Iterator[tuple[int, bytes]]:
    part, lines = b"", 0
    while left or not part:
        before = part[-_OVERLAP:]
        lines += part.count(b"\n", 0, len(part) - len(before))
        part = before + (fresh := output.read(min(left, _CHUNK)))
        left -= len(fresh)
        yield lines, part
        if not fresh:
            return


def blob(folder: Path, sha: str, longest: int = _CHUNK) -> bytes:
    """Return an object's bytes; empty when it is too long or not there."""
    with _Process(["cat-file", "--batch"], folder, f"{sha}\n".encode()) as output:
        header = output.readline().split()
        return output.read(int(header[2])) if len(header) == 3 and int(header[2]) <= longest else b""


def _split(output: IO[bytes]) -> Iterator[bytes]:
    """Yield the fields of a stream that end in NUL."""
    rest = b""
    while block := output.read(1 << 20):
        *fields, rest = (rest + block).split(b"\0")
        yield from fields


def _run(command: Sequence[str], folder: Path, stdin: bytes) -> bytes:
    return git(command, folder=folder, env=receiving(), stdin=stdin, timeout=_TIMEOUT).stdout


class _Process:
    """A git command whose output is read as it comes; its input lies in a file, so that neither waits for the other."""

    def __init__(self, command: Sequence[str], folder: Path, stdin: bytes) -> None:
        self._command, self._folder, self._stdin = command, folder, stdin

    def __enter__(self) -> IO[bytes]:
        self._file = tempfile.TemporaryFile()
        self._file.write(self._stdin)
        self._file.seek(0)
        self._process = subprocess.Popen(
            ["git", *self._command], cwd=self._folder, env=receiving(), stdin=self._file,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdout is not None  # noqa: S101 - asked for
        return self._process.stdout

    def __exit__(self, kind: object, *_: object) -> None:
        self._file.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        if kind is not None:
            self._process.kill()
        # Whoever has read enough closes the pipe under it.
        if self._process.wait() not in (0, -signal.SIGPIPE) and kind is None:
            raise GitFailed(f"git {self._command[0]} failed")
