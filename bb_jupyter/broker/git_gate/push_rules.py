"""Which refs a push may change, and how: judged before anything else about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Final

from bb_jupyter.broker.git_gate.environment import GitFailed, git, receiving
from bb_jupyter.broker.git_gate.git_errors import plain, short
from bb_jupyter.broker.git_gate.mirror import DENIED, UPSTREAM

NOTHING: Final = "0" * 40
"""The object name that stands for none (gitprotocol-pack(5))."""
MOST_REFS: Final = 200
"""Refs in one push: each is looked at by programs of its own."""
_MOST_REASONS: Final = 20


@dataclass(frozen=True)
class Update:
    """One ref that a push changes.

    Attributes:
        name: full name of the ref.
        old: what upstream has, `NOTHING` for a new ref.
        new: what it shall be, `NOTHING` for none.
    """

    name: str
    old: str
    new: str

    @property
    def kind(self) -> str:
        """What happens to the ref: ``create``, ``update`` or ``delete``."""
        if self.new == NOTHING:
            return "delete"
        return "create" if self.old == NOTHING else "update"

    @classmethod
    def parse(cls, line: bytes) -> Update:
        """Read ``OLD NEW REF``, as hooks are told; a name that is not UTF-8 becomes one that no rule lets pass."""
        old, new, name = line.rstrip(b"\n").decode("utf-8", "backslashreplace").split(" ", 2)
        return cls(name, old, new)

    def __str__(self) -> str:
        shas = {"create": f"new, {short(self.new)}", "delete": f"deleted, was {short(self.old)}"}
        return f"{plain(self.name)} ({shas.get(self.kind, f'{short(self.old)}..{short(self.new)}')})"


@dataclass(frozen=True)
class Rules:
    """What one repository allows; see `bb_jupyter.manifest.GitRepo`."""

    protected: Sequence[str] = ()
    allow_force: bool = False
    allow_delete: bool = False


def judge(updates: Sequence[Update], rules: Rules, refs: Mapping[str, str], folder: Path) -> list[str]:
    """Say why a push is refused.

    Args:
        updates: what it changes.
        rules: what the repository allows.
        refs: what upstream has.
        folder: the mirror; what is pushed is found there (in a hook, by the hook's environment).

    Returns:
        A line for each reason; empty when all is allowed.
    """
    if len(updates) > MOST_REFS:
        return [f"more than {MOST_REFS} branches and tags in one push: push fewer at a time"]
    reasons = (f"{plain(update.name)}: {why}" for update in updates for why in _reasons(update, rules, refs, folder))
    return [*islice(reasons, _MOST_REASONS)]


def _reasons(update: Update, rules: Rules, refs: Mapping[str, str], folder: Path) -> Iterator[str]:
    name = update.name
    if not name.startswith(UPSTREAM) or name.startswith(DENIED) or "\\" in name:
        yield "only branches (refs/heads/) and tags (refs/tags/) can be pushed"
        return
    if update.kind != "delete" and _kind(update, folder) != "commit":
        yield "is no commit"
    if pattern := protecting(name, rules.protected):
        yield f"is protected ('{plain(pattern)}'): push another branch"
    if refs.get(name, NOTHING) != update.old:
        yield "upstream has something else meanwhile: git fetch, then push again"
    elif update.kind == "delete" and not rules.allow_delete:
        yield "deleting is not allowed (allow_delete)"
    elif update.kind == "update" and not rules.allow_force and not _forward(update, folder):
        yield "this rewrites history, which is not allowed (allow_force): git fetch, rebase or merge, push again"


def protecting(name: str, patterns: Sequence[str]) -> str:
    """Return the pattern that protects a ref; empty for none.

    Patterns are full names or names without ``refs/heads/`` or ``refs/tags/``; ``*`` stands for anything, slashes too;
    case makes no difference, as on some servers.
    """
    full = name.casefold()
    names = {full, full.removeprefix("refs/heads/"), full.removeprefix("refs/tags/"), full.removeprefix("refs/")}
    return next((p for p in patterns if any(fnmatchcase(text, p.casefold()) for text in names)), "")


def _kind(update: Update, folder: Path) -> str:
    """Return the type of object that a ref shall name; of a tag, what it stands for in the end."""
    name = update.new if update.name.startswith("refs/heads/") else f"{update.new}^{{}}"
    return git(["cat-file", "-t", name], folder=folder, env=receiving(), accept=(0, 128)).stdout.decode().strip()


def _forward(update: Update, folder: Path) -> bool:
    """Whether a branch only gains commits.  A tag that exists is never to be moved."""
    if not update.name.startswith("refs/heads/"):
        return False
    command = ["merge-base", "--is-ancestor", update.old, update.new]
    try:
        return git(command, folder=folder, env=receiving(), accept=(0, 1)).returncode == 0
    except GitFailed:
        return False
