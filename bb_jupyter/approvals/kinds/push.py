"""`push`: an agent has pushed commits, which the git gate holds until the human releases them upstream."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bb_jupyter.approvals.kinds.base import Content, Context, Kind, Option, Part, Result, without_paths
from bb_jupyter.approvals.store.proposal import Decision, Proposal
from bb_jupyter.errors import UsageError, did_you_mean

_SHA: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Ref(Content):
    """A change of one ref.

    Attributes:
        name: in full, such as ``refs/heads/main``.
        old: the object that upstream has there; forty zeros for none.
        new: the object that it gets; forty zeros when it is deleted.
        kind: such as ``create`` or ``rewrite``.
    """

    name: str = ""
    old: str = ""
    new: str = ""
    kind: str = ""

    @property
    def is_exact(self) -> bool:
        """Whether it names both objects in full."""
        return bool(self.name and _SHA.fullmatch(self.old) and _SHA.fullmatch(self.new))


@dataclass(frozen=True)
class Commit(Content):
    """A commit or an annotated tag.

    Attributes:
        sha: of the object.
        author: who made it; the committer is named where it is somebody else.
        date: in ISO 8601.
        subject: first line of the message.
        body: the rest.
    """

    sha: str = ""
    author: str = ""
    date: str = ""
    subject: str = ""
    body: str = ""


@dataclass(frozen=True)
class File(Content):
    """A file that a push changes.

    Attributes:
        path: in the repository.
        status: as git's letter.
        added: lines.
        deleted: lines.
        binary: there are no lines.
    """

    path: str = ""
    status: str = ""
    added: int = 0
    deleted: int = 0
    binary: bool = False


@dataclass(frozen=True)
class Finding(Content):
    """Something in a push that a human should see first.

    Attributes:
        rule: what it is.
        path: the file; empty where there is none.
        line: in the file; 0 where there is none.
        where: a commit, tag or ref.
    """

    rule: str = ""
    path: str = ""
    line: int = 0
    where: str = ""

    def __str__(self) -> str:
        place = f"{self.path}{f':{self.line}' if self.line else ''}" if self.path else ""
        return ": ".join(filter(None, (" in ".join(filter(None, (place, self.where))), self.rule)))


@dataclass(frozen=True)
class PushContent(Content):
    """A held push.

    Attributes:
        alias: the repository's name at the gate.
        url: of the upstream.
        identity: private key file of the host, for ssh; empty for none.
        host_key: the only key that the ssh server may present; empty for known_hosts.
        username: beside the token, for https.
        token_ref: where the token is kept.
        ca: file with the CA of the server's certificate; empty for the host's.
        refs: what changes.
        commits: what is new, annotated tags too.
        files: what the commits change.
        diff: the same as text.
        truncated: something is left out above.
        findings: of the secret scan.
    """

    alias: str = ""
    url: str = ""
    identity: str = ""
    host_key: str = ""
    username: str = ""
    token_ref: str = ""
    ca: str = ""
    refs: tuple[Ref, ...] = ()
    commits: tuple[Commit, ...] = ()
    files: tuple[File, ...] = ()
    diff: str = ""
    truncated: bool = False
    findings: tuple[Finding, ...] = ()


class _Push(Kind[PushContent]):
    name = "push"
    content = PushContent
    options = (
        Option(
            "refs", "REF", "push: release only this ref; can be repeated", flag="--ref", several=True, in_hint=False
        ),
    )
    outlives_bottle = True
    patience = 300.0

    def title(self, content: PushContent) -> str:
        return f"wants to push to {content.alias} ({content.url})"

    def summary(self, content: PushContent) -> str:
        return ", ".join(ref.name for ref in content.refs)

    def parts(self, content: PushContent) -> Iterator[Part]:
        if content.findings:
            yield Part("findings", "\n".join(map(str, content.findings)), warns=True)
        yield Part("refs", "\n".join(map(_ref, content.refs)))
        yield Part("commits", "\n".join(map(_commit, content.commits)))
        yield Part("files", "\n".join(map(_file, content.files)))
        if content.truncated:
            yield Part("", "This is more than can be shown: git has all of it.", warns=True)
        for name, text in _by_file(content.diff.rstrip("\n")):
            yield Part(f"diff {name}", text, is_diff=True)

    def suggestions(self, content: PushContent, option: str) -> Iterable[str]:
        return [ref.name.removeprefix("refs/heads/") for ref in content.refs]

    def answer(self, proposal: Proposal, content: PushContent, values: Mapping[str, Any]) -> Mapping[str, Any]:
        if "refs" not in values:
            return {}
        known = [ref.name for ref in content.refs]
        full = {name.removeprefix("refs/heads/").removeprefix("refs/tags/"): name for name in known}
        for ref in values["refs"]:
            if ref not in known and ref not in full:
                raise UsageError(f"request {proposal.id} pushes no '{ref}'", hint=did_you_mean(ref, full))
        if not values["refs"]:
            raise UsageError("refs: name at least one", hint="To release none of them, deny it.")
        return {"refs": [full.get(ref, ref) for ref in values["refs"]]}

    def outcome(self, ok: bool, text: str) -> str:
        return without_paths(text)

    async def effect(self, proposal: Proposal, content: PushContent, decision: Decision, context: Context) -> Result:
        return await context.release_push(proposal)


def _ref(ref: Ref) -> str:
    return f"{ref.name}: {_sha(ref.old)} → {_sha(ref.new)} ({ref.kind})"


def _commit(commit: Commit) -> str:
    body = "".join(f"\n    {line}" for line in commit.body.strip().splitlines())
    return f"{_sha(commit.sha)} {commit.subject} ({commit.author}, {commit.date}){body}"


def _file(file: File) -> str:
    return f"{file.status} {file.path} ({'binary' if file.binary else f'+{file.added} −{file.deleted}'})"


def _sha(sha: str) -> str:
    return sha[:10] if sha.strip("0") else "nothing"


def _by_file(diff: str) -> Iterator[tuple[str, str]]:
    """Split a diff of git into those of its files."""
    lines: list[str] = []
    name = ""
    for line in diff.split("\n"):
        if line.startswith("diff --git ") and lines:
            yield name, "\n".join(lines)
            lines = []
        if line.startswith("diff --git "):
            name = line.rpartition(" b/")[2]
        lines.append(line)
    if any(lines):
        yield name, "\n".join(lines)


kind = _Push()
