"""The podman backend: bottles in containers of a podman service."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bb_jupyter.backend.base import Check
from bb_jupyter.backend.podman import endpoint
from bb_jupyter.backend.shared.container_engine.backend import ContainerBackend
from bb_jupyter.errors import BottleError

if TYPE_CHECKING:
    from bb_jupyter.backend.podman.engine import PodmanEngine


class PodmanBackend(ContainerBackend):
    """Bottles in containers of podman; used only when it is named."""

    name = "podman"

    def is_available(self) -> bool:
        """Whether the environment names a service, or one listens on the usual socket."""
        if os.environ.get(endpoint.VARIABLE):
            return True
        try:
            return endpoint.find().connectable
        except BottleError:
            return False

    def engine(self) -> PodmanEngine:
        """See `ContainerBackend.engine`."""
        from bb_jupyter.backend.podman.engine import PodmanEngine

        return PodmanEngine.at(endpoint.find())

    def diagnose(self) -> list[Check]:
        """Look thoroughly; see `BottleBackend.diagnose`."""
        from bb_jupyter.backend.shared.container_engine.diagnose import diagnose

        return diagnose(self.name, self.engine)
