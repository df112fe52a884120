"""The configuration of a broker: its plans with their secrets, which reach it on standard input and no other way.

It is frozen, and no `repr` shows a secret.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from bb_jupyter.broker.broker_plan import GitGatePlan, GitRepoPlan, SupervisePlan
from bb_jupyter.errors import ManifestError

if TYPE_CHECKING:
    from bb_jupyter.gateway.egress_plan import EgressPlan


@dataclass(frozen=True)
class GitRepoConfig(GitRepoPlan):
    """One repository behind the git gate, with its credential.

    Attributes:
        token: for https; empty for none.
    """

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
class BrokerConfig:
    """Everything that one broker needs at its start.

    Attributes:
        slug: the bottle's slug.
        name: what the user calls the bottle.
        keep: the broker outlives its owner, as its bottle does.
        git: the git gate; ``None`` for none.
        supervise: how the agent may ask the human; ``None`` when it may not.
        relay: program and arguments that join standard input and output to the relay in the bottle's network (docker);
            empty when listening sockets are passed by ``--listen-fd``.
    """

    slug: str
    name: str
    keep: bool = False
    git: GitGateConfig | None = None
    supervise: SupervisePlan | None = None
    relay: tuple[str, ...] = ()

    @classmethod
    def from_plans(
        cls,
        git: GitGatePlan | None,
        supervise: SupervisePlan | None,
        egress: EgressPlan | None,
        *,
        slug: str,
        name: str,
        keep: bool,
        resolve_token: Callable[[str], str],
    ) -> BrokerConfig:
        """Return the configuration for a bottle's plans, **with the secrets**.

        Args:
            git: the bottle's repositories; ``None`` for no git gate.
            supervise: how the agent may ask; ``None`` when it may not.
            egress: the bottle's routes, whose credentials no push may carry.
            slug: the bottle's slug.
            name: what the user calls the bottle.
            keep: the broker outlives its owner.
            resolve_token: returns the value of a ``token_ref``.

        Raises:
            ManifestError: a credential is unset or empty.
        """
        gate = None
        if git is not None and git.repos:
            repos = tuple(_repo(repo, resolve_token) for repo in git.repos)
            routed = tuple(resolve_token(ref) for ref in (egress.token_refs if egress else ()))
            gate = GitGateConfig(repos, tuple(dict.fromkeys((*routed, *(repo.token for repo in repos if repo.token)))))
        return cls(slug, name, keep, gate, supervise)

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
                supervise=SupervisePlan(**supervise) if supervise is not None else None,
            )
        except (ValueError, TypeError, AttributeError, KeyError):
            raise ManifestError("the first line is not a broker's configuration", key="broker") from None


def _repo(plan: GitRepoPlan, resolve_token: Callable[[str], str]) -> GitRepoConfig:
    return GitRepoConfig(**asdict(plan), token=resolve_token(plan.token_ref) if plan.token_ref else "")


def _git(data: dict[str, Any]) -> GitGateConfig:
    repos = tuple(GitRepoConfig(**{**repo, "protected": tuple(repo.get("protected", ()))}) for repo in data["repos"])
    return GitGateConfig(repos, tuple(data.get("secrets", ())))
