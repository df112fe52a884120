"""From what a preflight shows to what a broker is told; and what can be known to be wrong before anything starts."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bb_jupyter.broker.broker_config import BrokerConfig, GitGateConfig, GitRepoConfig, SuperviseConfig
from bb_jupyter.errors import ManifestError

if TYPE_CHECKING:
    from bb_jupyter.gateway.egress_plan import EgressPlan
    from bb_jupyter.manifest import GitGate

_UPSTREAM_HOST: Final = re.compile(r"(?:(?:ssh|https)://(?:[^/@]*@)?|(?:[^/@:]+@)?(?=[^/:]+:[^/:]))(?P<host>[^/:]+)")


@dataclass(frozen=True)
class GitRepoPlan:
    """One repository behind the git gate.

    Attributes:
        alias: name under which the bottle clones it.
        url: upstream.
        protected: refs that no push may change.
        allow_force: pushes may rewrite history.
        allow_delete: pushes may delete refs.
        max_push: bytes that one push may bring; ``None`` for the gate's default.
        identity: private key file of the host, for ssh.
        host_key: the server's public key, for ssh.
        username: user name, for https.
        token_ref: where the token is kept, for https.
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
    """The repositories of a bottle, and whom its commits name."""

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
        """Build a plan of what `dataclasses.asdict` made of one, also after a way through JSON."""
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
        timeout: seconds until a question that nobody answers is denied.
    """

    timeout: float = 300.0

    def summary(self) -> str:
        """Return it in one line, for the preflight."""
        return f"the agent may ask; unanswered is denied after {self.timeout:g} s"


def broker_config(
    git: GitGatePlan | None,
    supervise: SupervisePlan | None,
    egress: EgressPlan | None,
    *,
    slug: str,
    name: str,
    keep: bool,
    resolve_token: Callable[[str], str],
) -> BrokerConfig:
    """Turn plans into what is sent to the broker, **with the secrets**.

    Args:
        git: the bottle's repositories; ``None`` for no git gate.
        supervise: how the agent may ask; ``None`` when it may not.
        egress: the bottle's routes, whose credentials no push may carry.
        slug: the bottle's slug.
        name: what the user calls the bottle.
        keep: the broker outlives its owner.
        resolve_token: gives the value for a ``token_ref``.

    Raises:
        ManifestError: a credential is unset or empty.
    """
    gate = None
    if git is not None and git.repos:
        repos = tuple(_repo_config(repo, resolve_token) for repo in git.repos)
        routed = tuple(resolve_token(ref) for ref in (egress.token_refs if egress else ()))
        gate = GitGateConfig(repos, tuple(dict.fromkeys((*routed, *(repo.token for repo in repos if repo.token)))))
    asked = SuperviseConfig(supervise.timeout) if supervise is not None else None
    return BrokerConfig(slug, name, keep, gate, asked)


def _repo_config(repo: GitRepoPlan, resolve_token: Callable[[str], str]) -> GitRepoConfig:
    return GitRepoConfig(**asdict(repo), token=resolve_token(repo.token_ref) if repo.token_ref else "")


def check_git_gate(plan: GitGatePlan, resolve_token: Callable[[str], str], *, path: str = "") -> None:
    """Look whether what the repositories need is on this host.

    Args:
        plan: the repositories.
        resolve_token: gives the value for a ``token_ref``.
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
        hint = "`git init --object-format=sha1` makes one that it does."
        raise ManifestError(f"the git gate knows no {names} repositories", path=path or None, key=key, hint=hint)


def _credential(ref: str, resolve_token: Callable[[str], str], path: str, key: str) -> None:
    try:
        resolve_token(ref)
    except ManifestError as error:
        raise ManifestError(error.message, path=path or None, key=key, hint=error.hint) from None


def _wrong(path: str, key: str, message: str) -> ManifestError:
    return ManifestError(message, path=path or None, key=key, hint="It has to exist before a bottle is launched.")
