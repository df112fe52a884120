"""The Docker backend: wires its modules together, each of which reads end to end in its own file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager

from bb_jupyter.backend.base import BottleBackend, Check, OnProgress, no_progress
from bb_jupyter.backend.bottle import ActiveAgent, Bottle
from bb_jupyter.backend.plan import BottleCleanupPlan, PlanBasis
from bb_jupyter.backend.shared.container_engine import endpoint
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.errors import BottleError


class DockerBackend(BottleBackend[ContainerBottlePlan]):
    """Bottles in containers.  The SDK is imported when the first method needs it."""

    name = "docker"
    isolation = "container"

    def is_available(self) -> bool:
        """Whether the environment names an engine, or something listens on the usual socket."""
        if os.environ.get("DOCKER_HOST"):
            return True
        try:
            return endpoint.find().connectable
        except BottleError:
            return False

    def diagnose(self) -> list[Check]:
        """Look thoroughly; see `BottleBackend.diagnose`."""
        from bb_jupyter.backend.docker.diagnose import diagnose

        return diagnose()

    def _resolve_plan(self, basis: PlanBasis) -> ContainerBottlePlan:
        from bb_jupyter.backend.shared.container_engine.prepare import resolve_plan

        return resolve_plan(basis)

    def launch(
        self, plan: ContainerBottlePlan, *, on_progress: OnProgress = no_progress
    ) -> AbstractContextManager[Bottle]:
        """Start a bottle; see `BottleBackend.launch`.  A kept one is not removed at the end."""
        from bb_jupyter.backend.shared.container_engine.launch import launch

        return launch(plan, lambda bottle: self.provision(plan, bottle, on_progress), on_progress)

    def attach(self, slug: str) -> AbstractContextManager[Bottle]:
        """Hold a kept bottle again; see `BottleBackend.attach`.  Leaving the context lets it run on."""
        from bb_jupyter.backend.shared.container_engine.attach import attach

        return attach(slug)

    def prepare_cleanup(self) -> BottleCleanupPlan:
        """List orphans; see `BottleBackend.prepare_cleanup`."""
        from bb_jupyter.backend.shared.container_engine.cleanup import prepare_cleanup

        return prepare_cleanup()

    def cleanup(self, plan: BottleCleanupPlan) -> None:
        """Remove orphans; see `BottleBackend.cleanup`."""
        from bb_jupyter.backend.shared.container_engine.cleanup import cleanup

        cleanup(plan)

    def stop(self, slug: str) -> None:
        """Remove a bottle; see `BottleBackend.stop`."""
        from bb_jupyter.backend.shared.container_engine.cleanup import stop

        stop(slug)

    def enumerate_active(self) -> Sequence[ActiveAgent]:
        """Return the live bottles; see `BottleBackend.enumerate_active`."""
        from bb_jupyter.backend.shared.container_engine.enumerate import enumerate_active

        return enumerate_active()
