"""The plans of a bottle's git gate and supervision: what the preflight shows.  They hold no secret.

`check_git_gate` finds what is wrong with them before anything starts.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bb_jupyter.errors import ManifestError

if TYPE_CHECKING:
    from bb_jupyter.manifest import GitGate

_UPSTREAM_HOST: Final = re.compile(r"(?:(?:ssh|https)://(?:[^/@]*@)?|(?:[^/@:]+@)?(?=[^/:]+:[^/:]))(?P<host>[^/:]+)")


@dataclass(frozen=True)
class GitRepoPlan:
    """One repository behind the git gate.

    Attributes:
        alias: name under which the bottle clones it: ``http://git-gate:9418/<alias>.git``.
        url: upstream: ``ssh://``, ``user@host:path``, ``https://`` or an absolute path of this host.
        protected: refs that no push may change, as patterns.
        allow_force: pushes may rewrite history.
        allow_delete: pushes may delete refs.
        max_push: bytes that one push may bring; ``None`` for the gate's default.
        identity: private key file of the host, for ssh; empty for none.
        host_key: the only key that the ssh server may present, as ``type base64``; empty for known_hosts.
        username: user name beside the token, for https.
        token_ref: where the token is kept; a held push names it, so that a later process finds the token again.
        ca: file with the CA that the server's certificate is checked against, for https; empty for the host's.
    """

    alias: str
    url: str
    protected: tuple[str, ...] = ()
    allow_force: bool = False
    allow_delete: bool = False
    max_push: int | None = None
    identity: str = ""
    host_key: str = ""
    username: str = ""
    token_ref: str = ""
    ca: str = ""

    def __str__(self) -> str:
        return f"{self.alias} ({self.url}{f', ca {self.ca}' if self.ca else ''})"


@dataclass(frozen=True)
class GitGatePlan:
    """The repositories of a bottle, and the author of its commits."""

    repos: tuple[GitRepoPlan, ...] = ()
    user_name: str = ""
    user_email: str = ""

    @classmethod
    def from_manifest(cls, gate: GitGate) -> GitGatePlan:
        """Plan a manifest's ``git-gate``."""
        repos = (
            GitRepoPlan(
                alias=alias,
                url=repo.url,
                protected=repo.protected,
                allow_force=repo.allow_force,
                allow_delete=repo.allow_delete,
                max_push=repo.max_push,
                identity=repo.identity or "",
                host_key=repo.host_key or "",
                username=repo.username or "",
                token_ref=repo.token_ref or "",
                ca=repo.ca or "",
            )
            for alias, repo in gate.repos.items()
        )
        user = gate.user
        return cls(tuple(repos), user.name if user else "", user.email if user else "")

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> GitGatePlan:
        """Return the plan that `dataclasses.asdict` turned into *data*, which may have been JSON in between."""
        repos = (GitRepoPlan(**{**repo, "protected": tuple(repo["protected"])}) for repo in data["repos"])
        return cls(tuple(repos), data["user_name"], data["user_email"])

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts of the upstreams, lower case; a local path has none."""
        found = (_UPSTREAM_HOST.match(repo.url) for repo in self.repos)
        return tuple(dict.fromkeys(match["host"].lower() for match in found if match))

    def summary(self) -> str:
        """Return the repositories in one line, for the preflight."""
        return ", ".join(map(str, self.repos)) or "none"


@dataclass(frozen=True)
class SupervisePlan:
    """How the agent may ask the human.

    Attributes:
        timeout: seconds until a request is denied when nobody decides.
    """

    timeout: float = 300.0

    def summary(self) -> str:
        """Return it in one line, for the preflight."""
        return f"the agent may ask; unanswered is denied after {self.timeout:g} s"


def check_git_gate(plan: GitGatePlan, resolve_token: Callable[[str], str], *, path: str = "") -> None:
    """Check that this host has what the repositories need.

    Args:
        plan: the repositories.
        resolve_token: returns the value of a ``token_ref``.
        path: the manifest, for errors.

    Raises:
        ManifestError: git is missing, a credential is unset, an identity, a CA or a local repository is not there or
            cannot be used.
    """
    if shutil.which("git") is None:
        raise ManifestError("needs git on this host", path=path or None, key="git-gate", hint="apt install git")
    for repo in plan.repos:
        key = f"git-gate.repos.{repo.alias}"
        if repo.token_ref:
            _credential(repo.token_ref, resolve_token, path, f"{key}.token_ref")
        if repo.identity and not (Path(repo.identity).is_file() and os.access(repo.identity, os.R_OK)):
            raise _wrong(path, f"{key}.identity", f"there is no key file {repo.identity} that this user can read")
        if repo.ca:
            _check_ca(repo.ca, path, f"{key}.ca")
        if repo.url.startswith("/"):
            _check_local(repo.url, path, f"{key}.url")


def _check_ca(file: str, path: str, key: str) -> None:
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except OSError:
        raise _wrong(path, key, f"{file} is no file with a certificate (PEM) that this user can read") from None


def _check_local(url: str, path: str, key: str) -> None:
    from bb_jupyter.broker.git_gate.environment import GitFailed, environment, git

    here = environment(variables={"GIT_CEILING_DIRECTORIES": str(Path(url).parent)})  # not the repository around it
    if not Path(url).is_dir():
        raise _wrong(path, key, f"there is no repository {url}")
    try:
        names = git(["rev-parse", "--show-object-format"], folder=Path(url), env=here).stdout.decode().strip()
    except GitFailed:
        raise _wrong(path, key, f"{url} is no git repository") from None
    if names != "sha1":
        hint = "`git init --object-format=sha1` makes one that it supports."
        raise ManifestError(
            f"the git gate does not support {names} repositories", path=path or None, key=key, hint=hint
        )


def _credential(ref: str, resolve_token: Callable[[str], str], path: str, key: str) -> None:
    try:
        resolve_token(ref)
    except ManifestError as error:
        raise ManifestError(error.message, path=path or None, key=key, hint=error.hint) from None


def _wrong(path: str, key: str, message: str) -> ManifestError:
    return ManifestError(message, path=path or None, key=key, hint="It has to exist before a bottle is launched.")
