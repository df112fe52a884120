"""The bare mirror of one upstream: what its bottle fetches from, and where pushes wait.

``refs/heads`` and ``refs/tags`` are the upstream's, as of the last refresh.  ``refs/held/<proposal>/`` keeps the
commits of pushes that wait for a human, hidden from everybody who fetches or pushes.  ``refs/tags/denied/<proposal>``
are ours: they tell the agent what was denied, and why (see `notices`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Final

from bb_jupyter.approvals import LivenessLock, all_proposals, is_alive
from bb_jupyter.approvals.kinds import push
from bb_jupyter.approvals.store.storage import slugs
from bb_jupyter.broker.broker_config import GitRepoConfig
from bb_jupyter.broker.git_gate.environment import GitFailed, environment, git
from bb_jupyter.broker.git_gate.git_errors import explain
from bb_jupyter.broker.git_gate.transport import reaching
from bb_jupyter.errors import BottleError, UsageError
from bb_jupyter.home import bot_bottle_home, private_dir
from bb_jupyter.process.waiting import wait_until

HELD: Final = "refs/held/"
DENIED: Final = "refs/tags/denied/"
UPSTREAM: Final = ("refs/heads/", "refs/tags/")
"""What is mirrored and may be pushed."""

_SHA1: Final = 40
#: Seconds: to ask an upstream what it has, to fetch it, to wait for another process that uses the mirror.
_ASK, _FETCH, _LOCK = 45.0, 1800.0, 120.0
#: Bytes of addresses for the first two: an upstream that never stops answering ends there.
_ASK_MEMORY, _FETCH_MEMORY = 1 << 30, 8 << 30


def mirrors_dir(slug: str) -> Path:
    """Return the folder of a bottle's mirrors; it need not exist."""
    return bot_bottle_home() / "git" / slug


def remove_mirrors(slug: str) -> None:
    """Remove what no held push needs of a bottle that has ended.  Idempotent.

    Args:
        slug: the bottle's.
    """
    pushes = [(item, status) for item, status in all_proposals(slug) if item.kind == push.kind.name]
    needed = {push.kind.read(item).alias for item, status in pushes if not status.settled}
    folder = mirrors_dir(slug)
    if not needed:
        return shutil.rmtree(folder, ignore_errors=True)
    for path in folder.glob("*.git"):
        if path.stem not in needed:
            shutil.rmtree(path, ignore_errors=True)


def remove_abandoned(slug: str) -> None:
    """Do so if the bottle's broker does not live, nor begins to meanwhile.

    Args:
        slug: the bottle's.
    """
    if is_alive(slug):
        return  # which is soon known; to begin in its place would be tried for a second
    with contextlib.suppress(OSError), contextlib.closing(LivenessLock(slug)):
        remove_mirrors(slug)


def sweep() -> None:
    """Remove the mirrors of bottles that ended without a word, but for those that held pushes need."""
    folders = [*mirrors_dir("").glob("*")]
    known = {*slugs()}  # looked at later: a bottle that begins meanwhile has its queue before its mirrors
    for folder in folders:
        with contextlib.suppress(UsageError):  # not one of ours
            (remove_abandoned if folder.name in known else remove_mirrors)(folder.name)


class Mirror:
    """One repository of one bottle.  Every method blocks and may be called from any thread and process.

    Args:
        slug: the bottle's.
        repo: the upstream.

    Attributes:
        repo: the upstream, **with its credential**.
        path: the bare repository.
    """

    def __init__(self, slug: str, repo: GitRepoConfig) -> None:
        self.repo = repo
        self.path = mirrors_dir(slug) / f"{repo.alias}.git"

    def create(self) -> None:
        """Make it, unless it is there, and remove what an interrupted push left.

        Raises:
            BottleError: git is not there or the disk is not writable.
        """
        private_dir(self.path)
        command = ["init", "--bare", "--quiet", "--template=", "--initial-branch=main", "--object-format=sha1"]
        self._git(*command)
        for left in (self.path / "objects").glob("*tmp_objdir*"):
            shutil.rmtree(left, ignore_errors=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes and threads from changing it meanwhile.

        Raises:
            BottleError: it is busy for too long.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        path = self.path.with_suffix(".lock")
        descriptor = os.open(path, flags, 0o600)
        try:
            if not wait_until(lambda: _locked(descriptor), timeout=_LOCK, paths=[path]):
                raise BottleError(f"the mirror of '{self.repo.alias}' is busy", hint="Try again in a minute.")
            yield
        finally:
            os.close(descriptor)

    def refresh(self) -> None:
        """Bring it to what upstream has now.

        Raises:
            BottleError: upstream cannot be reached or refuses; the message says so.
        """
        with self.lock(), reaching(self.repo) as env:
            try:
                self._refresh(env)
            except GitFailed as error:
                raise BottleError(explain(error, self.repo)) from None

    def _refresh(self, env: Mapping[str, str]) -> None:
        patterns = ("HEAD", *(f"{prefix}*" for prefix in UPSTREAM))
        command = ["ls-remote", "--symref", "--", self.repo.url, *patterns]
        answer = git(command, folder=self.path, env=env, timeout=_ASK, memory=_ASK_MEMORY)
        head, refs = parse_refs(answer.stdout)
        if any(len(sha) != _SHA1 for sha in refs.values()):
            raise BottleError(
                f"upstream of '{self.repo.alias}' cannot be used: the git gate knows no sha256 repositories"
            )
        if refs != self.refs():
            specs = (f"+{prefix}*:{prefix}*" for prefix in UPSTREAM)
            command = ["fetch", "--quiet", "--prune", "--force", "--no-tags", "--no-write-fetch-head"]
            arguments = [*command, "--", self.repo.url, *specs, f"^{DENIED}*"]
            git(arguments, folder=self.path, env=env, timeout=_FETCH, memory=_FETCH_MEMORY)
        if head.startswith("refs/heads/"):
            self._git("symbolic-ref", "HEAD", head)

    def refs(self) -> dict[str, str]:
        """Return upstream's branches and tags as of the last refresh: name and object."""
        return {name: sha for name, sha in self.all_refs(*UPSTREAM).items() if not name.startswith(DENIED)}

    def all_refs(self, *prefixes: str) -> dict[str, str]:
        """Return every ref below some prefixes."""
        listed = self._git("for-each-ref", "--format=%(objectname) %(refname)", *prefixes).decode("utf-8", "replace")
        return {name: sha for sha, _, name in (line.partition(" ") for line in listed.splitlines())}

    def hold(self, number: int, objects: Mapping[str, str]) -> None:
        """Keep what a proposal names: object by name of ref.

        Raises:
            GitFailed: these names do not go together.
        """
        names = ((f"{HELD}{number}/{name.removeprefix('refs/')}", sha) for name, sha in objects.items())
        self._update(f"update {name} {sha}\n" for name, sha in names)

    def forget(self, held: Iterable[str], waiting: Iterable[int]) -> None:
        """Let go of those of the refs *held* that no waiting proposal needs."""
        keep = {str(number) for number in waiting}
        names = (name for name in held if name.removeprefix(HELD).partition("/")[0] not in keep)
        self._update(f"delete {name}\n" for name in names)

    def annotate(self, name: str, sha: str, message: str) -> None:
        """Put an annotated tag on a commit, if it is there still."""
        who = {f"GIT_COMMITTER_{what}": value for what, value in (("NAME", "git gate"), ("EMAIL", "git-gate"))}
        arguments = ["tag", "--annotate", "--force", "--cleanup=verbatim", "--file=-", name, sha]
        with contextlib.suppress(GitFailed):
            git(arguments, folder=self.path, env=environment(variables=who), stdin=message.encode("utf-8", "replace"))

    def tidy(self) -> None:
        """Throw away what pushes brought and nobody waits for.  Not while a push arrives: it may build on that.

        Raises:
            BottleError: the disk is full, or it takes too long.
        """
        with self.lock():
            git(["repack", "-a", "-d", "--quiet"], folder=self.path, timeout=_FETCH)

    def _update(self, lines: Iterable[str]) -> None:
        if text := "".join(lines):
            git(["update-ref", "--stdin"], folder=self.path, stdin=text.encode())

    def _git(self, *arguments: str) -> bytes:
        return git(arguments, folder=self.path).stdout

    @cached_property
    def size_limit(self) -> int:
        """Bytes that one push may bring."""
        return self.repo.max_push or DEFAULT_MAX_PUSH


DEFAULT_MAX_PUSH: Final = 64 << 20
"""Bytes that one push may bring, where the manifest does not say."""


def parse_refs(listing: bytes) -> tuple[str, dict[str, str]]:
    """Read what ``git ls-remote --symref`` prints.

    Returns:
        The branch that HEAD names (empty for none), and each branch and tag with its object.
    """
    head, refs = "", {}
    for line in listing.decode("utf-8", "replace").splitlines():
        value, _, name = line.partition("\t")
        if name == "HEAD" and value.startswith("ref: "):
            head = value.removeprefix("ref: ")
        elif name.startswith(UPSTREAM) and not name.startswith(DENIED) and not name.endswith("^{}"):
            refs[name] = value
    return head, refs


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
