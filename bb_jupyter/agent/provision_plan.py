"""The plan of what a provider puts into a bottle: declarative, frozen, without secrets, made before anything starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from bb_jupyter.errors import UsageError

if TYPE_CHECKING:
    from bb_jupyter.manifest import AgentManifest, AgentProviderRef, Route

#: Value in the bottle where an agent expects a credential; the gateway puts the real one into its requests.
PLACEHOLDER = "placeholder-replaced-by-the-gateway"
#: Folder in the bottle's home for files of this package: the CA bundle, a prompt, skills.
BOTTLE_FOLDER = ".bottle"

Origin = Literal["built-in", "home"]


@dataclass(frozen=True)
class AgentRequest:
    """The input of `AgentProvider.provision_plan`.

    Attributes:
        agent: the agent's manifest.
        ref: `agent_provider` of the bottle's manifest.
        env: the bottle's variables; a provider may follow some, such as `ANTHROPIC_BASE_URL`.
        routed: hosts (or `*.suffix`) for which the bottle's manifest has a route, with the `token_ref` of each.
        guest_home: the agent's home in the bottle.
        host_programs: the bottle runs this host's programs (bubblewrap) instead of an image.
    """

    agent: AgentManifest
    ref: AgentProviderRef
    env: Mapping[str, str] = field(default_factory=dict)
    routed: Mapping[str, str] = field(default_factory=dict)
    guest_home: str = "/home/agent"
    host_programs: bool = False

    def has_route(self, host: str) -> bool:
        """Whether the bottle's manifest has a route for *host*; the provider then adds none."""
        return bool(self._routes(host))

    def token_ref(self, host: str) -> str:
        """Return the `token_ref` of the manifest's route for *host*; empty for none."""
        return next(iter(self._routes(host)), "")

    def _routes(self, host: str) -> list[str]:
        named = [ref for known, ref in self.routed.items() if host == known]
        return named + [ref for known, ref in self.routed.items() if known[0] == "*" and host.endswith(known[1:])]


@dataclass(frozen=True)
class GuestFile:
    """A file to write into the bottle.

    Attributes:
        path: relative to the agent's home.
        content: the content; no secret.
        mode: permission bits.

    Raises:
        UsageError: the path leaves the home.
    """

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path).parts
        if not parts or self.path.startswith("/") or ".." in parts or "\0" in self.path:
            raise UsageError(f"a provider's file must lie in the agent's home, not at {self.path!r}")


@dataclass(frozen=True)
class HostBind:
    """A part of this host's file system that a bubblewrap bottle sees, read-only.

    Attributes:
        source: a file or directory of the host; for a link, its target in the bottle.
        target: path in the bottle.
        link: make a symbolic link.
    """

    source: str
    target: str
    link: bool = False


@dataclass(frozen=True)
class Skill:
    """A skill's folder on the host.

    Attributes:
        name: the skill's name.
        source: the folder.
        origin: `home` or `repository`.
    """

    name: str
    source: Path
    origin: str = "home"


@dataclass(frozen=True)
class AgentCommand:
    """The command of a run without a terminal.

    Attributes:
        argv: program and arguments.
        stdin: its input: the prompt, which may be too long for an argument and may begin with a dash.
        env: variables beside those of the bottle.
    """

    argv: tuple[str, ...]
    stdin: bytes = field(repr=False)
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AgentProvisionPlan:
    """What a provider puts into a bottle.

    Attributes:
        provider: name of the provider.
        title: name shown to people, such as `Claude Code`.
        files: files to write into the home.
        env: variables of every command; credentials are placeholders.
        routes: routes that the agent needs; a route of the manifest for the same host replaces one of these.
        commands: commands to run as the agent's user after the files are written.
        host_paths: parts of this host that a bubblewrap bottle needs to see.
        warnings: warnings for the preflight.
        agent: name of the agent's manifest.
        model: the model to request; empty for the agent's default.
        prompt: standing instructions: the body of the agent's manifest.
        skills: folders to copy in.
        dockerfile: Dockerfile of the image; `None` for none.
        dockerfile_reason: why this Dockerfile was chosen.
        origin: whether the provider is built in or the user's own.
        source: file of a user's own provider; empty for a built-in one.
        replaces_built_in: a user's own provider has the name of a built-in one.
    """

    provider: str
    title: str = ""
    files: tuple[GuestFile, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    host_paths: tuple[HostBind, ...] = ()
    warnings: tuple[str, ...] = ()
    agent: str = ""
    model: str = ""
    prompt: str = ""
    skills: tuple[Skill, ...] = ()
    dockerfile: Path | None = None
    dockerfile_reason: str = ""
    origin: Origin = "built-in"
    source: str = ""
    replaces_built_in: bool = False

    def rows(self) -> list[tuple[str, str]]:
        """Return the plan's rows of the preflight, each a label and a text."""
        facts = [self.title or self.provider, f"model {self.model}" if self.model else ""]
        facts += [f"prompt of {len(self.prompt)} characters" if self.prompt else "", self._where()]
        rows = [("agent", f"{self.agent}: " + ", ".join(filter(None, facts)))]
        if self.skills:
            rows.append(("skills", ", ".join(f"{skill.name} (from the {skill.origin})" for skill in self.skills)))
        if self.dockerfile:
            rows.append(("Dockerfile", f"{self.dockerfile} ({self.dockerfile_reason})"))
        binds = [bind.source for bind in self.host_paths if not bind.link]
        if binds:
            rows.append(("seen of this host", ", ".join(binds) + " (read-only)"))
        return rows + [("warning", warning) for warning in self.warnings]

    def _where(self) -> str:
        if self.origin == "built-in":
            return ""
        return f"your own provider {self.source}" + (", INSTEAD OF THE BUILT-IN ONE" if self.replaces_built_in else "")
