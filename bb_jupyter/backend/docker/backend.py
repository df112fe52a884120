"""The Docker backend: bottles in containers of a Docker engine, near or far."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bb_jupyter.backend.base import Check
from bb_jupyter.backend.docker import endpoint
from bb_jupyter.backend.shared.container_engine.backend import ContainerBackend
from bb_jupyter.errors import BottleError

if TYPE_CHECKING:
    from bb_jupyter.backend.docker.engine import DockerEngine


class DockerBackend(ContainerBackend):
    """Bottles in containers of a Docker engine."""

    name = "docker"
    preference = 20

    def is_available(self) -> bool:
        """Whether the environment names an engine, or something listens on the usual socket."""
        if os.environ.get("DOCKER_HOST"):
            return True
        try:
            return endpoint.find().connectable
        except BottleError:
            return False

    def engine(self) -> DockerEngine:
        """See `ContainerBackend.engine`."""
        from bb_jupyter.backend.docker.engine import DockerEngine

        return DockerEngine.at(endpoint.find())

    def diagnose(self) -> list[Check]:
        """Look thoroughly; see `BottleBackend.diagnose`."""
        from bb_jupyter.backend.shared.container_engine.diagnose import diagnose

        return diagnose(self.name, self.engine)
