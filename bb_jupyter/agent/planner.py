"""Planning an agent: from the manifests of agent and bottle to the plan of what the provider puts into the bottle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bb_jupyter.agent import registry
from bb_jupyter.agent.credentials import check_token
from bb_jupyter.agent.provision_plan import AgentProvisionPlan, AgentRequest, Skill
from bb_jupyter.agent.registry import ProviderEntry
from bb_jupyter.errors import BottleError, ManifestError
from bb_jupyter.home import bot_bottle_home

if TYPE_CHECKING:
    from bb_jupyter.agent.provider import AgentProvider
    from bb_jupyter.manifest import AgentManifest, BottleManifest


def plan_agent(
    agent: AgentManifest,
    bottle: BottleManifest,
    *,
    env: Mapping[str, str],
    project: Path,
    guest_home: str,
    host_programs: bool,
) -> AgentProvisionPlan:
    """Decide what an agent needs in its bottle.

    Args:
        agent: the agent's manifest.
        bottle: the bottle's manifest, with `extends` merged.
        env: variables of the bottle.
        project: directory of the repository whose agents and skills may be used.
        guest_home: the agent's home in the bottle.
        host_programs: the bottle runs this host's programs instead of an image.

    Returns:
        The plan.  It contains no secret.

    Raises:
        UsageError: there is no such provider.
        ManifestError: a manifest, a skill or a credential is missing or wrong.
        BackendUnavailable: the agent's program is not installed on this host.
    """
    entry = registry.find(_provider_name(agent, bottle))
    provider = registry.get_provider(entry.name)
    _check_trust(agent, bottle, entry, provider)
    request = AgentRequest(
        agent=agent,
        ref=bottle.agent_provider,
        env=env,
        routed={route.host: route.auth.token_ref if route.auth else "" for route in bottle.egress.routes},
        guest_home=guest_home,
        host_programs=host_programs,
    )
    plan = _ask(provider, entry, request)
    if plan.routes:
        _check_repository(agent, bottle, entry.name)
    dockerfile, reason = _dockerfile(bottle, entry, provider) if not host_programs else (None, "")
    return replace(
        plan,
        provider=entry.name,
        title=plan.title or provider.title or entry.name,
        agent=agent.name,
        model=agent.model or "",
        prompt=agent.prompt,
        skills=_skills(agent, project),
        dockerfile=dockerfile,
        dockerfile_reason=reason,
        origin=entry.origin,
        source=str(entry.path) if entry.origin == "home" else "",
        replaces_built_in=entry.replaces_built_in,
    )


def load_agent(name: str, project: Path) -> AgentManifest:
    """Load an agent's manifest.  The name of a provider stands for an agent with nothing but this provider.

    Raises:
        UsageError: the name is not allowed.
        ManifestError: there is no such agent, or its manifest is wrong.
    """
    from bb_jupyter import manifest

    if name in {entry.name for entry in manifest.list_agents(project)}:
        return manifest.load_agent(name, project=project)
    providers = {entry.name: str(entry.path) for entry in registry.list_providers()}
    if name in providers:
        return manifest.AgentManifest(name=name, provider=name, path=providers[name])
    return manifest.load_agent(name, project=project, also=providers)


def _provider_name(agent: AgentManifest, bottle: BottleManifest) -> str:
    ref = bottle.agent_provider
    name = agent.provider or ref.template
    if name is None:
        hint = "Write 'provider: claude' in the agent, or 'agent_provider: {template: claude}' in its bottle."
        raise ManifestError(f"agent '{agent.name}' has no provider", path=agent.path or None, hint=hint)
    given = [key for key in ("auth_token", "forward_host_credentials", "dockerfile") if getattr(ref, key)]
    if given and ref.template != name:
        # Otherwise the agent's manifest, perhaps a repository's, would decide which provider gets the credential.
        what = f"is for '{ref.template}', agent '{agent.name}' runs '{name}'" if ref.template else "needs template"
        hint = f"Write 'template: {name}' beside it if that is meant."
        raise ManifestError(what, path=bottle.path or None, key=f"agent_provider.{given[0]}", hint=hint)
    return name


def _check_trust(agent: AgentManifest, bottle: BottleManifest, entry: ProviderEntry, provider: AgentProvider) -> None:
    ref = bottle.agent_provider
    given = [key for key in ("auth_token", "forward_host_credentials") if getattr(ref, key)]
    if given and entry.origin == "home":
        raise ManifestError(
            f"is for built-in providers; the provider {entry.path} handles credentials itself",
            path=bottle.path or None,
            key=f"agent_provider.{given[0]}",
            hint="Write a route with auth for the host that needs it.",
        )
    if len(given) > 1:
        what = "auth_token and forward_host_credentials exclude each other"
        raise ManifestError(what, path=bottle.path or None, key="agent_provider.forward_host_credentials")
    if ref.auth_token:
        check_token(ref.auth_token, path=bottle.path, key="agent_provider.auth_token")
    if provider.needs_credential:
        _check_repository(agent, bottle, entry.name)


def _check_repository(agent: AgentManifest, bottle: BottleManifest, provider: str) -> None:
    """Refuse a repository's agent that would give itself a network or a credential."""
    if agent.origin == "repository" and bottle.agent_provider.template != provider:
        raise ManifestError(
            f"a repository's agent gets no network and no credential by itself, and '{provider}' needs them",
            path=agent.path or None,
            key="provider",
            hint=f"Name a bottle of your own that has 'agent_provider: {{template: {provider}}}': --bottle NAME.",
        )


def _ask(provider: AgentProvider, entry: ProviderEntry, request: AgentRequest) -> AgentProvisionPlan:
    try:
        return provider.provision_plan(request)
    except BottleError:
        raise
    except Exception as error:
        if entry.origin == "built-in":
            raise
        raise registry.explained(error, entry.path) from None


def _dockerfile(bottle: BottleManifest, entry: ProviderEntry, provider: AgentProvider) -> tuple[Path | None, str]:
    """Return the first of: the bottle's own, `agent_provider.dockerfile`, the provider's; and why it was chosen."""
    if bottle.dockerfile:
        return Path(bottle.dockerfile), "the bottle's own"
    if bottle.agent_provider.dockerfile:
        return Path(bottle.agent_provider.dockerfile), "agent_provider.dockerfile of the bottle"
    found = provider.dockerfile
    if found is None:
        return None, ""
    is_own = entry.origin == "home" and found.parent == entry.path.parent
    return found, "beside your own provider" if is_own else "the provider's own"


def _skills(agent: AgentManifest, project: Path) -> tuple[Skill, ...]:
    return tuple(_skill(agent, name, project) for name in agent.skills)


def _skill(agent: AgentManifest, name: str, project: Path) -> Skill:
    own, theirs = bot_bottle_home() / "skills" / name, project / ".bot-bottle" / "skills" / name
    if (own / "SKILL.md").is_file():
        return Skill(name, own.resolve(), "home")
    if (theirs / "SKILL.md").is_file() and not any(part.is_symlink() for part in (theirs, *theirs.parents[:2])):
        return Skill(name, theirs, "repository")
    raise ManifestError(
        f"there is no skill '{name}'",
        path=agent.path or None,
        key=f"skills[{agent.skills.index(name)}]",
        hint=f"It is a folder with a SKILL.md: {own}",
    )
