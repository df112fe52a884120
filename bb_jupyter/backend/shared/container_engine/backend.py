"""A backend on a container engine: wires the modules of this folder together; a subclass says which engine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from bb_jupyter.backend.base import BottleBackend, OnProgress, no_progress
from bb_jupyter.backend.bottle import ActiveAgent, Bottle
from bb_jupyter.backend.plan import BottleCleanupPlan, PlanBasis
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan

if TYPE_CHECKING:
    from bb_jupyter.backend.shared.container_engine.engine import Engine


class ContainerBackend(BottleBackend[ContainerBottlePlan]):
    """Bottles in containers.  The SDK is imported when the first method needs it."""

    isolation = "container"

    @abstractmethod
    def engine(self) -> Engine:
        """Return the engine that the environment means; it is connected to at its first use.

        Raises:
            BackendUnavailable: the environment names none.
        """

    def _resolve_plan(self, basis: PlanBasis) -> ContainerBottlePlan:
        from bb_jupyter.backend.shared.container_engine.prepare import resolve_plan

        return resolve_plan(self.engine(), basis)

    def launch(
        self, plan: ContainerBottlePlan, *, on_progress: OnProgress = no_progress
    ) -> AbstractContextManager[Bottle]:
        """Start a bottle; see `BottleBackend.launch`.  A kept one is not removed at the end."""
        from bb_jupyter.backend.shared.container_engine.launch import launch

        return launch(self.engine(), plan, lambda bottle: self.provision(plan, bottle, on_progress), on_progress)

    def attach(self, slug: str) -> AbstractContextManager[Bottle]:
        """Hold a kept bottle again; see `BottleBackend.attach`.  Leaving the context lets it run on."""
        from bb_jupyter.backend.shared.container_engine.attach import attach

        return attach(self.engine(), slug)

    def prepare_cleanup(self) -> BottleCleanupPlan:
        """List orphans; see `BottleBackend.prepare_cleanup`."""
        from bb_jupyter.backend.shared.container_engine.cleanup import prepare_cleanup

        return prepare_cleanup(self.engine())

    def cleanup(self, plan: BottleCleanupPlan) -> None:
        """Remove orphans; see `BottleBackend.cleanup`."""
        from bb_jupyter.backend.shared.container_engine.cleanup import cleanup

        cleanup(self.engine(), plan)

    def stop(self, slug: str) -> None:
        """Remove a bottle; see `BottleBackend.stop`."""
        from bb_jupyter.backend.shared.container_engine.cleanup import stop

        stop(self.engine(), slug)

    def enumerate_active(self) -> Sequence[ActiveAgent]:
        """Return the live bottles; see `BottleBackend.enumerate_active`."""
        from bb_jupyter.backend.shared.container_engine.enumerate import enumerate_active

        return enumerate_active(self.engine())
