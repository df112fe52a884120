"""The manifest of a bottle: environment, network, repositories, limits and image."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError

from bb_jupyter.manifest.egress_model import Egress
from bb_jupyter.manifest.git_gate_model import GitGate
from bb_jupyter.manifest.limits import Duration, Limits
from bb_jupyter.manifest.manifest_files import Origin
from bb_jupyter.manifest.strict_model import (
    Line,
    NoneIsEmpty,
    OptionalArgument,
    OptionalHostPath,
    StrictModel,
    TokenRef,
)
from bb_jupyter.text.visible import quoted

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_TEMPLATE = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


def _env_name(text: str) -> str:
    if not _ENV_NAME.fullmatch(text):
        raise ValueError(
            f"{quoted(text)} cannot name a variable\nUse letters, digits and '_', not beginning with a digit."
        )
    return text


def _env_value(text: str) -> str:
    if "\0" in text:
        raise ValueError("a variable cannot hold a NUL")
    return text


def provider_template(text: str) -> str:
    """Check the form of an agent provider's name; whether the provider exists is checked later.

    Raises:
        ValueError: it cannot be one.
    """
    if not _TEMPLATE.fullmatch(text):
        raise ValueError(f"{quoted(text)} cannot be a provider's name\nUse a-z, 0-9, '_' and '-', at most 40.")
    return text


def _one_or_more(value: object) -> object:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


EnvName = Annotated[str, AfterValidator(_env_name)]
EnvValue = Annotated[str, AfterValidator(_env_value)]
Template = Annotated[str, AfterValidator(provider_template)]


class AgentProviderRef(StrictModel):
    """Which agent provider a bottle is made for.

    Attributes:
        template: the provider's name, built in or a user's plugin.
        dockerfile: a Dockerfile instead of the provider's own, absolute; empty for the provider's.
        auth_token: what holds the agent's credential (as a route's ``token_ref``); for built-in providers.
        forward_host_credentials: use the host's login of the same agent; for built-in providers.
    """

    template: Template | None = None
    dockerfile: OptionalHostPath = ""
    auth_token: TokenRef | None = None
    forward_host_credentials: bool = False


class Supervise(StrictModel):
    """How the agent may ask the human.

    Attributes:
        timeout: seconds until an unanswered question is denied.
    """

    timeout: Duration = 300.0


def _supervise(value: object) -> object:
    if value is None or isinstance(value, dict | Supervise):
        return value
    try:
        return Supervise() if TypeAdapter(bool).validate_python(value) else None
    except ValidationError:
        hint = "Or say how long the agent waits: {timeout: 10m}"
        raise ValueError(f"expected true or false, got {quoted(value)}\n{hint}") from None


class BottleManifest(StrictModel):
    """A bottle as declared, with what it extends merged in.

    Attributes:
        name: how it is asked for.
        origin: ``home`` or ``kernel``, never a repository.
        path: the file, or the label of the cell, that declared it.
        description: text below the frontmatter.
        extends: names of the bottles that it builds on; later ones win.
        agent_provider: the provider of its agent.
        image: an image to run instead of one that is built; empty for none.
        dockerfile: the override of this bottle, absolute; empty for none.
        env: variables of every process in the bottle.
        copies: ``SRC[:DST]``, copied in at launch.
        egress: the hosts that it may reach.
        git_gate: the repositories that it may use.
        supervise: how its agent may ask the human, ``true`` for the defaults; ``None`` (or ``false``): not at all.
        limits: how much of the host it may use.
    """

    name: str
    origin: Origin = "kernel"
    path: str = ""
    description: str = ""
    extends: Annotated[tuple[str, ...], BeforeValidator(_one_or_more)] = ()
    agent_provider: Annotated[AgentProviderRef, NoneIsEmpty] = AgentProviderRef()
    image: OptionalArgument = ""
    dockerfile: OptionalHostPath = ""
    env: Annotated[dict[EnvName, EnvValue], NoneIsEmpty] = Field(default_factory=dict)
    copies: Annotated[tuple[Line, ...], BeforeValidator(_one_or_more)] = ()
    egress: Annotated[Egress, NoneIsEmpty] = Egress()
    git_gate: Annotated[GitGate, NoneIsEmpty] = Field(default=GitGate(), alias="git-gate")
    supervise: Annotated[Supervise | None, BeforeValidator(_supervise)] = None
    limits: Annotated[Limits, NoneIsEmpty] = Limits()
