"""The manifest of an agent: who works in a bottle, with which skills and prompt."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from bb_jupyter.errors import UsageError
from bb_jupyter.manifest.bottle_model import Template
from bb_jupyter.manifest.limits import Limits
from bb_jupyter.manifest.manifest_files import Origin, validate_name
from bb_jupyter.manifest.strict_model import Argument, NoneIsEmpty, StrictModel
from bb_jupyter.text.visible import quoted

_SKILL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def _skill(text: str) -> str:
    if not _SKILL.fullmatch(text):
        raise ValueError(f"{quoted(text)} cannot name a skill\nName a folder of skills/, without a path.")
    return text


def _bottle(text: str) -> str:
    try:
        return validate_name("bottle", text)
    except UsageError as error:
        raise ValueError(str(error)) from error


class AgentManifest(StrictModel):
    """An agent as declared.

    Attributes:
        name: how it is asked for.
        origin: ``home`` or ``repository``; a repository's agent is shown before it is used.
        path: the file that declared it.
        description: one line for listings.
        provider: name of the agent provider; the bottle's own when ``None``.
        bottle: name of a bottle of the user's home or of the kernel.
        skills: folders below ``skills/`` of the home or of the repository.
        model: the model to ask for; the provider's own when ``None``.
        limits: the limits that it asks for, see `limits_within`.
        prompt: text below the frontmatter.
    """

    name: str
    origin: Origin = "home"
    path: str = ""
    description: str = ""
    provider: Template | None = None
    bottle: Annotated[str, AfterValidator(_bottle)] | None = None
    skills: tuple[Annotated[str, AfterValidator(_skill)], ...] = ()
    model: Argument | None = None
    limits: Annotated[Limits, NoneIsEmpty] = Limits()
    prompt: str = ""

    def limits_within(self, limits: Limits) -> Limits:
        """Apply this agent's limits to a bottle's: the user's own agent sets, a repository's can only lower them."""
        return limits.narrowed(self.limits) if self.origin == "repository" else limits.merged(self.limits)
