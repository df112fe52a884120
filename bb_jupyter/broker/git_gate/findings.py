"""The secret scan of one push: each incoming object, each path and each ref's name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from bb_jupyter.broker.git_gate.environment import git, receiving
from bb_jupyter.broker.git_gate.git_errors import plain, short
from bb_jupyter.broker.git_gate.incoming import Incoming, blob
from bb_jupyter.broker.git_gate.push_rules import NOTHING, Update
from bb_jupyter.broker.git_gate.secret_scan import Found, Scanner

#: Most bytes of text that are looked at for what may be a secret, and the largest file.
_DOUBT_BUDGET, _DOUBT_LARGEST = 4 << 20, 256 << 10
_MOST: Final = 50
_LFS, _POINTER = b"version https://git-lfs.github.com/spec/", 1024
"""How a file begins, and less than how many bytes it has, that stands for another one, which is kept elsewhere (Git LFS
specification, "The Pointer")."""
#: The fields of a commit and of a tag that a human is shown, in git's order (git-hash-object(1), fsck-msgs(5)).
_SHOWN: Final = {
    "commit": re.compile(rb"tree .*\n(?:parent .*\n)*author .*\ncommitter .*\n?"),
    "tag": re.compile(rb"object .*\ntype .*\ntag .*\n(?:tagger .*\n?)?"),
}
#: A field's name, where a long one does not go on; and how many are told.
_FIELD, _NAMED = re.compile(rb"^[^ \n]+", re.MULTILINE), 5
#: Names that are looked at in one go: a hundred thousand one by one take a minute.
_TOGETHER: Final = 500


@dataclass(frozen=True)
class Finding:
    """Something in a push that should not go upstream.

    Attributes:
        rule: what it is.
        path: the file; empty for a commit, a tag or a ref's name.
        line: in that file; 0 where there is none.
        where: a commit, tag or ref, or the commit that brings the file.
    """

    rule: str
    path: str
    line: int
    where: str

    def __str__(self) -> str:
        place = f"{self.path}{f':{self.line}' if self.line else ''}" if self.path else ""
        return f"{' in '.join(part for part in (place, self.where) if part)}: {self.rule}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return asdict(self)


@dataclass
class _File:
    """A blob's first path, the commit that brings it, and what it replaces."""

    path: bytes
    commit: str
    before: set[str]


class Scan:
    """Looks through one push.

    Args:
        incoming: what it brings.
        scanner: knows secrets.

    Attributes:
        refused: secrets for certain.
        notes: what a human should have a look at.
        paths: every file that any commit changes.
        pointers: how many files are kept elsewhere, by Git LFS.
    """

    def __init__(self, incoming: Incoming, scanner: Scanner) -> None:
        self._incoming, self._scanner = incoming, scanner
        self._folder: Path = incoming.folder
        self._files: dict[str, _File] = {}
        self._budget = _DOUBT_BUDGET
        self.refused: dict[Finding, None] = {}
        self.notes: dict[Finding, None] = {}
        self.paths: set[bytes] = set()
        self.pointers = 0
        self._unshown, self._unshown_names = 0, dict[bytes, None]()

    def run(self, updates: Iterable[Update]) -> None:
        """Look at all of it, or until there is enough to refuse it."""
        for update in updates:
            self._names(update.name.encode("utf-8", "replace"), "", f"the name of {plain(update.name)}")
        self._paths()
        for kind, sha, lines, part in self._incoming.contents():
            if len(self.refused) >= _MOST:
                return
            self._object(kind, sha, lines, part)

    def replaced(self, tips: Iterable[str], shown: set[str]) -> Iterator[Finding]:
        """Yield a note when commits in between hold versions of files that nothing pushed holds in the end.

        Args:
            tips: what is pushed.
            shown: files in the diff; of the others `hidden` tells.
        """
        trees = (git(["ls-tree", "-r", "-z", tip], folder=self._folder, env=receiving()).stdout for tip in tips)
        last = {entry.partition(b"\t")[0][-40:].decode("ascii") for tree in trees for entry in tree.split(b"\0")}
        count = sum(sha not in last and show(file.path) in shown for sha, file in self._files.items())
        if count:
            some = "one version of a file is" if count == 1 else f"{count} versions of files are"
            yield Finding(f"{some} in commits in between only: the diff does not show this", "", 0, "history")

    def unshown(self) -> Iterator[Finding]:
        """Yield a note when commits or tags have fields that nothing shows, signatures or the agent's own."""
        if self._unshown:
            names = ", ".join(plain(name.decode("utf-8", "backslashreplace"), 30) for name in self._unshown_names)
            rule = f"fields of commits or tags that are not shown: {names} ({self._unshown:,} bytes)"
            yield Finding(rule, "", 0, "history")

    def _names(self, name: bytes, path: str, where: str) -> None:
        for found in self._scanner.certain(name):
            self.refused[Finding(found.rule, path, 0, where)] = None

    def _paths(self) -> None:
        new, named = {*self._incoming.objects.get("blob", ())}, dict[bytes, str]()
        for change in self._incoming.changes():
            if change.new != NOTHING:
                named.setdefault(change.path, change.commit)
            if not change.folder:
                self.paths.add(change.path)
            if change.new in new:
                file = self._files.setdefault(change.new, _File(change.path, change.commit, set()))
                if change.old not in new and change.old != NOTHING:
                    file.before.add(change.old)
        paths = [*named]
        for some in (paths[start : start + _TOGETHER] for start in range(0, len(paths), _TOGETHER)):
            if any(self._scanner.certain(b"\n".join(some))):
                for path in some:
                    self._names(path, show(path), f"the file's name, commit {short(named[path])}")

    def _object(self, kind: str, sha: str, lines: int, part: bytes) -> None:
        file = self._files.get(sha)
        path = show(file.path) if file else f"(object {short(sha)})"
        where = f"commit {short(file.commit)}" if file else ""
        found = [item for item in self._scanner.certain(part) if not (file and self._was_there(item, file))]
        for item in found:
            line = lines + part.count(b"\n", 0, item.at) + 1
            place = (path, line, where) if kind == "blob" else ("", 0, f"{kind} {short(sha)}")
            self.refused[Finding(item.rule, *place)] = None
        if kind != "blob" and lines == 0:
            self._fields(part.partition(b"\n\n")[0], _SHOWN[kind])
        if kind == "blob" and file and len(part) < _POINTER and part.startswith(_LFS):
            self.pointers += 1
            self.notes[Finding("Git LFS pointer: what it stands for is not in this push", path, 1, where)] = None
        if kind == "blob" and file and not found:
            self._doubt(file, path, where, part)

    def _fields(self, head: bytes, shown: re.Pattern[bytes]) -> None:
        """Take notice of what the head of a commit or tag has beside the fields that are shown."""
        known = shown.match(head)
        rest = head[known.end() if known else 0 :]
        self._unshown += len(rest)
        for name in islice(_FIELD.finditer(rest), _NAMED - len(self._unshown_names)):
            self._unshown_names[name[0]] = None

    def _was_there(self, found: Found, file: _File) -> bool:
        """Whether upstream has this secret in the same file already: then it is no news, and not this push's fault."""
        return bool(found.value) and any(found.value in blob(self._folder, old) for old in file.before)

    def _doubt(self, file: _File, path: str, where: str, part: bytes) -> None:
        if len(part) > min(self._budget, _DOUBT_LARGEST) or b"\0" in part:
            return
        self._budget -= len(part)
        text = part.decode("utf-8", "replace")
        known = {
            line for old in file.before for line in blob(self._folder, old).decode("utf-8", "replace").splitlines()
        }
        fresh = "\n".join("" if line in known else line for line in text.splitlines())
        for rule, line, certain in self._scanner.doubtful(fresh):
            found = Finding(rule, path, line, where)
            (self.refused if certain else self.notes)[found] = None


def show(path: bytes) -> str:
    """Return a path as text that can be shown and stored."""
    return plain(path.decode("utf-8", "backslashreplace"), 500)


def hidden(paths: set[bytes], shown: set[str]) -> Iterator[Finding]:
    """Yield a note for each file that only a commit in between has: the diff does not show it, the history keeps it."""
    for path in sorted({show(path) for path in paths} - shown):
        yield Finding("changed by a commit, but not in the end: the diff does not show it", path, 0, "")
