"""What the broker process is told: frozen; a secret travels only here, on standard input, and no `repr` shows it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from bb_jupyter.errors import ManifestError


@dataclass(frozen=True, slots=True)
class GitRepoConfig:
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
        token: the token itself; empty for none.
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
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class GitGateConfig:
    """The git gate of one bottle.

    Attributes:
        repos: what it serves.
        secrets: every credential that the trusted side holds for this bottle, tokens of routes too: no push may carry
            one of them.
    """

    repos: tuple[GitRepoConfig, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class SuperviseConfig:
    """How the agent may ask the human.

    Attributes:
        timeout: seconds until what nobody answers is denied.
    """

    timeout: float = 300.0


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """Everything that one broker is told at its start.

    Attributes:
        slug: the bottle's slug.
        name: what the user calls the bottle.
        keep: the broker outlives its owner, as its bottle does.
        git: the git gate; ``None`` for none.
        supervise: the agent's way to the human; ``None`` for none.
        relay: program and arguments that join standard input and output to the relay in the bottle's network (docker);
            empty when listening sockets are passed by ``--listen-fd``.
    """

    slug: str
    name: str
    keep: bool = False
    git: GitGateConfig | None = None
    supervise: SuperviseConfig | None = None
    relay: tuple[str, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret in here, each once."""
        git = self.git or GitGateConfig()
        return tuple(dict.fromkeys(filter(None, (*git.secrets, *(repo.token for repo in git.repos)))))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, **secrets included**."""
        return asdict(self)

    @classmethod
    def from_json(cls, line: bytes | str) -> BrokerConfig:
        """Read what `to_json` made, as a line of JSON.

        Raises:
            ManifestError: it is something else.
        """
        try:
            data = json.loads(line)
            git, supervise = data.pop("git", None), data.pop("supervise", None)
            return cls(
                **{**data, "relay": tuple(data.get("relay", ()))},
                git=_git(git) if git is not None else None,
                supervise=SuperviseConfig(**supervise) if supervise is not None else None,
            )
        except (ValueError, TypeError, AttributeError, KeyError):
            raise ManifestError("the first line is not a broker's configuration", key="broker") from None


def _git(data: dict[str, Any]) -> GitGateConfig:
    repos = tuple(GitRepoConfig(**{**repo, "protected": tuple(repo.get("protected", ()))}) for repo in data["repos"])
    return GitGateConfig(repos, tuple(data.get("secrets", ())))
