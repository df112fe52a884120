"""What a human is shown of a push: its commits, its files, its diff, all bounded."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from bb_jupyter.broker.git_gate.environment import EMPTY_TREE, GitFailed, git, receiving
from bb_jupyter.broker.git_gate.findings import show
from bb_jupyter.broker.git_gate.incoming import Incoming
from bb_jupyter.broker.git_gate.push_rules import NOTHING, Update

T = TypeVar("T")
_COMMITS: Final = 100
_TEXT: Final = 2000
_DIFF: Final = 400_000
"""Most commits, characters of a commit's text, and bytes of a diff that are shown."""
_CUT: Final = "…"
"""Ends a text that goes on."""
_JSON: Final = 250_000
"""Most bytes of JSON that commits, files and the diff each take: a proposal holds one MiB."""
_FORMAT: Final = "%H%x00%an <%ae>%x00%cn <%ce>%x00%aI%x00%s%x00%b%x00"
_DIFF_OPTIONS: Final = ("--no-ext-diff", "--no-textconv", "--no-color", "--find-renames", "--no-relative")


def describe(incoming: Incoming, updates: Sequence[Update]) -> dict[str, Any]:
    """Describe a push.

    Args:
        incoming: what it brings.
        updates: what it changes.

    Returns:
        ``commits``, ``files``, ``diff`` and ``truncated``, as `bb_jupyter.approvals` says; ``totals`` counts all.
    """
    folder, commits, tags = incoming.folder, incoming.commits, [*_tags(incoming)]
    objects = dict.fromkeys((update.old, update.new) for update in updates if update.new != NOTHING)
    pairs = dict.fromkeys((_base(folder, old, new), new) for old, new in objects)
    files = [file for base, new in pairs for file in _files(folder, base, new)]
    diff = "".join(_diff(folder, base, new) for base, new in pairs)
    told = _fitting([*tags[:_COMMITS], *_commits(folder, commits[:_COMMITS])])
    shown = {
        "commits": told,
        "files": _fitting(files),
        "diff": "".join(_fitting(diff.splitlines(keepends=True), 2 * _JSON)),
    }
    cut = len(shown["diff"]) < len(diff) or len(diff) >= _DIFF
    cut = cut or len(shown["files"]) < len(files) or len(told) < len(commits) + len(tags)
    cut = cut or any(text.endswith(_CUT) for commit in told for text in commit.values())
    return {**shown, "truncated": cut, "totals": {"commits": len(commits), "files": len(files)}}


def _fitting(items: Iterable[T], budget: int = _JSON) -> list[T]:
    """Return as many as fit."""
    taken = []
    for item in items:
        budget -= len(json.dumps(item)) + 2
        if budget < 0:
            break
        taken.append(item)
    return taken


def _base(folder: Path, old: str, new: str) -> str:
    """Return what a ref is compared with: what upstream has there, or else where it left upstream's main branch."""
    if old != NOTHING:
        return old
    with suppress(GitFailed):
        found = _git(folder, "merge-base", "HEAD", f"{new}^{{commit}}", accept=(0, 1)).split()
        if found:
            return found[0].decode("ascii")
    return EMPTY_TREE


def _commits(folder: Path, commits: Sequence[str]) -> Iterator[dict[str, str]]:
    if not commits:
        return
    command = ("log", "--no-walk=unsorted", "-z", f"--format={_FORMAT}", "--stdin")
    fields = _git(folder, *command, stdin=commits).split(b"\0")
    texts = [field.decode("utf-8", "replace") for field in fields]
    for sha, author, committer, date, subject, body, _ in zip(*[iter(texts)] * 7, strict=False):
        who = author if author == committer else f"{author}, committed by {committer}"
        yield _shown(sha, who, date, subject, body)


def _tags(incoming: Incoming) -> Iterator[dict[str, str]]:
    """Yield annotated tags in the form of commits: their words go upstream, too."""
    for _, sha, lines, part in incoming.contents(("tag",)):
        if lines == 0:  # of a long one the rest
            head, _, message = part.decode("utf-8", "replace").partition("\n\n")
            fields = dict(line.partition(" ")[::2] for line in reversed(head.split("\n")))  # the first of a name counts
            who, _, date = fields.get("tagger", "").rpartition("> ")
            subject, _, body = message.partition("\n")
            yield _shown(sha, f"{who}>", _iso(date), f"tag {fields.get('tag', '')}: {subject}", body)


def _iso(date: str) -> str:
    """Return seconds since the epoch and a zone, as git writes them, in ISO 8601; what is none, as it is."""
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(int(date.partition(" ")[0]), UTC).isoformat()
    return date


def _shown(sha: str, author: str, date: str, subject: str, body: str) -> dict[str, str]:
    texts = {"author": (author, 200), "date": (date, 50), "subject": (subject, 300), "body": (body.strip(), _TEXT)}
    cut = {name: text if len(text) <= most else text[:most] + _CUT for name, (text, most) in texts.items()}
    return {"sha": sha, **cut}


def _files(folder: Path, base: str, new: str) -> Iterator[dict[str, Any]]:
    numbers = _git(folder, "diff", *_DIFF_OPTIONS, "--no-renames", "--numstat", "-z", base, new).split(b"\0")[:-1]
    states = _git(folder, "diff", *_DIFF_OPTIONS, "--no-renames", "--name-status", "-z", base, new).split(b"\0")[:-1]
    status = dict(zip(states[1::2], states[::2], strict=False))
    for line in numbers:
        added, deleted, path = line.split(b"\t", 2)
        yield {
            "path": show(path),
            "status": status.get(path, b"M").decode("ascii"),
            "added": 0 if added == b"-" else int(added),
            "deleted": 0 if deleted == b"-" else int(deleted),
            "binary": added == b"-",
        }


def _diff(folder: Path, base: str, new: str) -> str:
    """Return a diff, cut where it is too long."""
    process = subprocess.Popen(
        ["git", "diff", *_DIFF_OPTIONS, base, new], cwd=folder, env=receiving(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with process:
        assert process.stdout is not None  # noqa: S101 - asked for
        text = process.stdout.read(_DIFF)
        process.kill()
    return text.decode("utf-8", "replace")


def _git(folder: Path, *arguments: str, stdin: Sequence[str] = (), accept: tuple[int, ...] = (0,)) -> bytes:
    lines = "".join(f"{line}\n" for line in stdin).encode()
    return git(arguments, folder=folder, env=receiving(), stdin=lines, accept=accept, timeout=120).stdout


def summary(content: Mapping[str, Any]) -> str:
    """Return how much a push holds, in a few words."""
    totals = content["totals"]
    words = [f"{totals[name]} {name[:-1] if totals[name] == 1 else name}" for name in ("commits", "files")]
    return ", ".join(words)
