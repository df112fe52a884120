"""Loads agents: from the user's folder first, then from the repository."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from bb_jupyter.errors import BottleError, ManifestError, did_you_mean
from bb_jupyter.home import bot_bottle_home
from bb_jupyter.manifest.agent_model import AgentManifest
from bb_jupyter.manifest.bottle_model import BottleManifest
from bb_jupyter.manifest.manifest_files import (
    Entry,
    Origin,
    check_repository,
    home_folder,
    manifest_names,
    read_text,
    repository_folder,
    validate_name,
)
from bb_jupyter.manifest.parse import Document, parse
from bb_jupyter.manifest.validation_errors import build, known_keys

# Keys that give power: those of a bottle, of its parts, and those under which other tools know them.
_BOTTLE_KEYS = (
    known_keys(BottleManifest)
    | known_keys(BottleManifest, ("agent_provider",))
    | {"routes", "allow", "network", "mounts", "volumes", "privileged", "secrets", "token_ref", "user", "repos"}
) - known_keys(AgentManifest)


def load_agent(name: str, *, project: Path | None = None, also: Iterable[str] = ()) -> AgentManifest:
    """Load an agent of the user's folder, or else of the project's ``.bot-bottle/agents/``.

    Args:
        name: its name.
        project: the project's root; the working directory by default.
        also: what else the user may have meant, to be suggested.

    Raises:
        UsageError: the name is not allowed.
        ManifestError: there is no such agent, it is wrong, or the repository ships more than agents.
    """
    validate_name("agent", name)
    root = (project or Path.cwd()).absolute()
    own = home_folder("agents")
    if os.path.lexists(own / f"{name}.md"):
        return _load(name, own / f"{name}.md", "home", None)
    check_repository(root)
    theirs = _repository_agents(root)
    if name in theirs:
        return _load(name, root / ".bot-bottle" / "agents" / f"{name}.md", "repository", root)
    hint = did_you_mean(name, {*theirs, *manifest_names(own), *also}) or f"Write it there as {name}.md"
    raise ManifestError(f"no agent is named '{name}'", path=own, hint=hint)


def list_agents(project: Path | None = None) -> list[Entry[AgentManifest]]:
    """List the agents of the user's folder, and the project's others; broken ones come with their error.

    Args:
        project: the project's root; the working directory by default.
    """
    root = (project or Path.cwd()).absolute()
    own = manifest_names(home_folder("agents"))
    entries = [_entry(name, home_folder("agents") / f"{name}.md", "home", root) for name in own]
    try:
        check_repository(root)
    except ManifestError as error:
        return [*entries, Entry(".bot-bottle", "repository", str(error.path), error=error)]
    theirs = [name for name in _repository_agents(root) if name not in own]
    folder = root / ".bot-bottle" / "agents"
    return entries + [_entry(name, folder / f"{name}.md", "repository", root) for name in theirs]


def document_of(agent: AgentManifest, project: Path) -> list[Document]:
    """Return what an agent is written in; nothing for one that stands for a provider.

    Raises:
        ManifestError: it has become wrong meanwhile.
    """
    beneath = project.absolute() if agent.origin == "repository" else None
    return [parse(read_text(Path(agent.path), beneath=beneath), agent.path)] if agent.path.endswith(".md") else []


def _entry(name: str, file: Path, origin: Origin, project: Path) -> Entry[AgentManifest]:
    try:
        return Entry(name, origin, str(file), manifest=load_agent(name, project=project))
    except BottleError as error:
        return Entry(name, origin, str(file), error=error)


def _repository_agents(project: Path) -> list[str]:
    folder = repository_folder(project)
    return manifest_names(folder / "agents") if folder else []


def _load(name: str, file: Path, origin: Origin, beneath: Path | None) -> AgentManifest:
    document = parse(read_text(file, beneath=beneath), str(file))
    _refuse_bottle_keys(document, origin)
    given = {"name": name, "origin": origin, "path": str(file), "prompt": document.body}
    return build(AgentManifest, document, given, base=file.parent)


def _refuse_bottle_keys(document: Document, origin: Origin) -> None:
    for key in document.data:
        if key.replace("_", "-") in {known.replace("_", "-") for known in _BOTTLE_KEYS}:
            message = "a repository may ship agents, never bottles" if origin == "repository" else "belongs in a bottle"
            hint = f"Write it in a bottle of {bot_bottle_home() / 'bottles'} and name that one: 'bottle: NAME'."
            raise document.error(message, (key,), hint)
