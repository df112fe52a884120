"""What a bottle may leave behind: objects of the engine, processes, state directories."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker

from bb_jupyter.backend.shared.container_engine import guest_image

SLUG_LABEL = "bb-jupyter.slug"


@dataclass(frozen=True)
class Engine:
    """The Docker engine of this run.

    Attributes:
        address: as in `DOCKER_HOST`.
        base_image: a minimal Debian or Ubuntu with git, curl, python3 (and venv), procps, busybox, the host's CAs.
        busybox_image: nothing but busybox: no users, no bash, no Python.
    """

    address: str
    base_image: str
    busybox_image: str

    @contextlib.contextmanager
    def client(self) -> Iterator[docker.DockerClient]:
        """Give a client of the `docker` SDK."""
        with contextlib.closing(docker.DockerClient(self.address)) as client:
            yield client

    def objects(self, name: str = "") -> list[str]:
        """Return containers, networks and volumes of bottles called *name* (any, when empty), as `kind id`."""
        wanted = {"label": SLUG_LABEL}
        # By the low-level calls: the others inspect each object, and one may be gone by then.
        with self.client() as client:
            found = [
                *(("container", c["Id"][:12], c["Labels"]) for c in client.api.containers(all=True, filters=wanted)),
                *(("network", n["Name"], n["Labels"]) for n in client.api.networks(filters=wanted)),
                *(("volume", v["Name"], v["Labels"]) for v in client.api.volumes(filters=wanted)["Volumes"] or ()),
            ]
        return [f"{kind} {which}" for kind, which, labels in found if _is_of(labels[SLUG_LABEL], name)]

    def forget_images(self, folder: str) -> None:
        """Remove the images that were built by Dockerfiles in folders called *folder*, and what was made of them."""
        with self.client() as client:
            for built in client.api.images(f"bb-jupyter/{folder}"):
                for tag in (guest_image.tag(built["Id"]), *built["RepoTags"]):
                    if client.api.images(tag):
                        client.api.remove_image(tag, force=True)


def leftovers(home: Path, name: str = "", engine: Engine | None = None) -> list[str]:
    """Return what exists of the bottles called *name*, one line each; empty when all is clean.

    Args:
        home: the `BOT_BOTTLE_HOME` they were started with; processes and state are found by it.
        name: the name of a bottle; empty for every bottle (mind the other tests on the same engine).
        engine: where to look for docker objects; `None` looks at none.
    """
    state = [f"state {path.name}" for path in home.glob("state/[a-z0-9]*") if _is_of(path.name, name)]
    return [*state, *_processes(str(home)), *(engine.objects(name) if engine else ())]


def _is_of(slug: str, name: str) -> bool:
    """Tell whether *slug* is the name and its random part."""
    return not name or slug.rpartition("-")[0] == name


def _processes(home: str) -> list[str]:
    """Return the processes whose arguments or environment name *home*, but for our own line of ancestors."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        # Gone, or another user's: not one that this test started.
        with contextlib.suppress(OSError):
            arguments = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if home in arguments or home.encode() in (process / "environ").read_bytes():
                found.append(f"process {process.name} {arguments[:80]}")
    return [line for line in found if int(line.split()[1]) not in (os.getpid(), os.getppid())]
