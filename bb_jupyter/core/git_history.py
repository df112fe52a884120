"""The commits of a repository in a bottle, brought home as objects: nothing of its configuration comes along.

git in the bottle packs the commits into a bundle (git-bundle(1)); what it writes is hostile.  A git of this host that
obeys neither the user's configuration nor any hook checks every object (`fetch.fsckObjects`) and fetches them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bb_jupyter.agent.guest import Command
from bb_jupyter.backend.bottle import Bottle
from bb_jupyter.backend.execution import StdoutFile
from bb_jupyter.broker.git_gate.environment import GitFailed, environment, git
from bb_jupyter.errors import BottleError
from bb_jupyter.text.visible import last_line, one_line

#: Most bytes of a bundle, and seconds that packing and fetching may take each.
_MAX_BUNDLE, _SECONDS = 2 << 30, 300.0
#: Most repositories of one copy whose history is fetched.
MAX_REPOSITORIES = 20
_SETTINGS = {"fetch.fsckObjects": "true", "transfer.fsckObjects": "true", "fetch.writeCommitGraph": "false"}


def bring_history(bottle: Bottle, inside: str, folder: Path) -> str:
    """Fetch the commits of a repository of the bottle into the one at *folder*, which is made when it is missing.

    A repository that is there already gets them under `refs/bottles/<bottle>/`, where no branch and no working tree
    changes.  A new one gets the branches themselves.

    Args:
        bottle: the bottle.
        inside: the repository's folder in the bottle.
        folder: the folder on this host to which its files were copied.

    Returns:
        What came of it, in one line; also where it failed, for the files are there all the same.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="bottle-history-") as scratch:
            bundle = Path(scratch, "bundle")
            _pack(bottle, inside, bundle)
            if (folder / ".git").exists():
                return _fetch_beside(bottle.name, bundle, folder)
            return _make_repository(bundle, folder)
    except GitFailed as error:
        why = last_line((error.output or error.message).encode())
    except (BottleError, OSError) as error:
        why = one_line(str(error))
    return f"its commits stay in the bottle: {why}"


def _pack(bottle: Bottle, inside: str, bundle: Path) -> None:
    command = ("git", "-C", inside, "bundle", "create", "-q", "-", "--all")
    with bottle.start(Command(command, timeout=_SECONDS)) as packing, bundle.open("wb") as file:
        stream, size = StdoutFile(packing), 0
        while block := stream.read(1 << 20):
            size += len(block)
            if size > _MAX_BUNDLE:
                raise BottleError(f"they are more than {_MAX_BUNDLE >> 30} GiB")
            file.write(block)
        done = packing.wait()
    if done.returncode:
        raise BottleError(last_line(done.stderr) or "git failed in the bottle")


def _git(folder: Path, *arguments: str) -> str:
    env = environment(_SETTINGS, {"GIT_ALLOW_PROTOCOL": "file"})
    return git(arguments, folder=folder, env=env, timeout=_SECONDS).stdout.decode("utf-8", "replace")


def _fetch(folder: Path, bundle: Path, *refspecs: str) -> None:
    options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--update-head-ok")
    _git(folder, "fetch", *options, str(bundle), *refspecs)


def _fetch_beside(name: str, bundle: Path, folder: Path) -> str:
    place = f"refs/bottles/{name}"
    _fetch(folder, bundle, f"+refs/heads/*:{place}/*", f"+refs/tags/*:{place}/tags/*")
    branch = _branch(bundle, folder)
    merge = f"; `git merge {place}/{one_line(branch)}` takes them over" if branch else ""
    return f"its commits are at {place}/{merge}"


def _make_repository(bundle: Path, folder: Path) -> str:
    _git(folder, "init", "--quiet", "--template=", "--initial-branch=none-yet", ".")
    _fetch(folder, bundle, "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*")
    if branch := _branch(bundle, folder):
        _git(folder, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
        _git(folder, "reset", "--quiet", "--mixed")
    return f"a new repository has its commits, on branch {one_line(branch)}" if branch else "a new repository was made"


def _branch(bundle: Path, folder: Path) -> str:
    """Return the branch that HEAD of a bundle is on; empty for none."""
    lines = _git(folder, "bundle", "list-heads", str(bundle)).splitlines()
    heads = {ref: sha for sha, _, ref in (line.partition(" ") for line in lines)}
    named = [ref for ref, sha in heads.items() if ref.startswith("refs/heads/") and sha == heads.get("HEAD")]
    preferred = [ref for ref in named if ref in ("refs/heads/main", "refs/heads/master")]
    return next(iter([*preferred, *named]), "").removeprefix("refs/heads/")
