"""The user's request: magic options or Python arguments and manifests, resolved into one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bb_jupyter.manifest import AgentManifest, BottleManifest, Limits, Route


@dataclass(frozen=True)
class Copy:
    """Something of the host to copy into the bottle at launch.

    Attributes:
        source: file or directory on the host, absolute.
        target: path in the bottle; relative ones are below its home.
        take: patterns of what goes in although it looks like a credential.
    """

    source: Path
    target: PurePosixPath
    take: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The source's own name, a link's too; that of the folder itself for `.` and `..`."""
        return self.source.name if self.source.name not in ("", "..") else self.source.resolve().name


@dataclass(frozen=True)
class BottleSpec:
    """The user's request for a bottle.  Holds no secret and has no side effects.

    Attributes:
        name: the bottle's name, unique among the user's live bottles.
        backend: name of the backend, already chosen.
        backend_reason: why that one was chosen: in the first line of the preflight.
        manifest: the bottle's manifest, `extends` merged; an empty one when the user named none.
        agent: the agent's manifest; `None` for a plain shell.
        image: base image (docker) to use instead of the default one.
        dockerfile: per-bottle override of the Dockerfile.
        env: variables for every command; the manifest's are merged in already.
        copies: files and directories to copy in.
        routes: hosts that the user allows by option, besides those of the manifest and the provider.
        cwd: default working directory in the bottle; empty for its home.
        user: default user in the bottle; empty for the backend's own (`agent`, not root).
        limits: the merged limits; a field that is `None` is not limited.
        keep: the bottle may outlive the process that launched it.
        project: directory that relative paths are below (the notebook's).
    """

    name: str
    backend: str
    backend_reason: str = ""
    manifest: BottleManifest = field(default_factory=lambda: BottleManifest(name=""))
    agent: AgentManifest | None = None
    image: str = ""
    dockerfile: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    copies: tuple[Copy, ...] = ()
    routes: tuple[Route, ...] = ()
    cwd: str = ""
    user: str = ""
    limits: Limits = field(default_factory=Limits)
    keep: bool = False
    project: Path = field(default_factory=Path.cwd)
