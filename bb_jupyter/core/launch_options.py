"""How to launch a bottle: options as a magic or `bb_jupyter.launch` takes them, resolved into a `BottleSpec`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from bb_jupyter import manifest
from bb_jupyter.agent.planner import load_agent
from bb_jupyter.backend.spec import BottleSpec, Copy
from bb_jupyter.errors import UsageError
from bb_jupyter.manifest import Limits

#: Limits of a bottle whose manifest and options set none: enough for an agent at work, and they stop a fork bomb.
DEFAULT_LIMITS = Limits(memory=4 << 30, pids=1024, disk=4 << 30)


@dataclass(frozen=True)
class LaunchOptions:
    """How to launch a bottle.  The bottle's manifest or a default supplies what is empty here.

    Attributes:
        agent: name of an agent manifest.
        bottle: name of a bottle manifest.
        backend: name of a backend.
        image: image to run, on backends that run images.
        allow: hosts that the gateway lets through beside the manifest's routes.
        env: variables for every command.
        copy: what to copy in, each as `SRC[:DST]`.
        copy_secret: patterns of files that are copied in although they look like credentials.
        cwd: default working directory.
        user: default user in the bottle.
        limits: limits that override the manifest's.
        keep: the bottle outlives this process.
    """

    agent: str = ""
    bottle: str = ""
    backend: str = ""
    image: str = ""
    allow: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    copy: tuple[str, ...] = ()
    copy_secret: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""
    limits: Limits = field(default_factory=Limits)
    keep: bool = False

    def resolve(self, name: str, *, backend: str, reason: str, project: Path, limits: Limits) -> BottleSpec:
        """Combine the options with the manifests that they name; start nothing.

        Args:
            name: the bottle's name.
            backend: name of the chosen backend.
            reason: why it was chosen; the preflight shows it.
            project: directory that relative paths and the repository's agents are below.
            limits: limits where neither a manifest nor an option sets any.

        Raises:
            UsageError: an option is wrong.
            ManifestError: a manifest is missing or wrong.
        """
        agent = load_agent(self.agent, project) if self.agent else None
        bottle_name = self.bottle or (agent.bottle if agent else "")
        bottle = manifest.load_bottle(bottle_name) if bottle_name else manifest.BottleManifest(name="")
        merged = limits.merged(bottle.limits)
        if agent:
            merged = agent.limits_within(merged)
        return BottleSpec(
            name=name,
            backend=backend,
            backend_reason=reason,
            manifest=bottle,
            agent=agent,
            image=self.image or bottle.image,
            dockerfile=Path(bottle.dockerfile) if bottle.dockerfile else None,
            env={**bottle.env, **self.env},
            copies=tuple(_copy(text, project, self.copy_secret) for text in (*bottle.copies, *self.copy)),
            routes=tuple(map(manifest.allowed_route, self.allow)),
            cwd=self.cwd,
            user=self.user,
            limits=merged.merged(self.limits),
            keep=self.keep,
            project=project,
        )


def _copy(text: str, project: Path, take: tuple[str, ...]) -> Copy:
    """Read `SRC[:DST]`; a source whose own name has a colon is found as it is."""
    path, target = _path(text, project), ""
    if not os.path.lexists(path):
        source, _, target = text.partition(":")
        path = _path(source, project)
        if not source:
            raise UsageError(f"not a copy: {text!r}", hint="Write --copy SRC or --copy SRC:DST.")
    copy = Copy(path, PurePosixPath(), take)
    return replace(copy, target=PurePosixPath(target or copy.name))


def _path(text: str, project: Path) -> Path:
    return (project / Path(text).expanduser()).absolute()
