"""The bubblewrap backend: wires its modules to the contract."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from bb_jupyter.backend.base import BottleBackend, Check, OnProgress, no_progress
from bb_jupyter.backend.bottle import ActiveAgent, Bottle
from bb_jupyter.backend.bubblewrap import bwrap, cleanup, diagnose, enumerate, launch, prepare
from bb_jupyter.backend.bubblewrap.bottle_plan import BubblewrapBottlePlan
from bb_jupyter.backend.plan import BottleCleanupPlan, PlanBasis
from bb_jupyter.errors import BackendUnavailable, UsageError


class BubblewrapBackend(BottleBackend[BubblewrapBottlePlan]):
    """Bottles as Linux namespaces on this machine; needs no daemon and no root."""

    name = enumerate.BACKEND
    isolation = "namespaces"
    host_programs = True
    preference = 10

    def is_available(self) -> bool:
        """Whether bwrap is there and nothing closes user namespaces."""
        try:
            bwrap.find()
        except BackendUnavailable:
            return False
        return bwrap.closed() is None

    def diagnose(self) -> list[Check]:
        """Try it; see `BottleBackend.diagnose`."""
        return diagnose.diagnose()

    def _resolve_plan(self, basis: PlanBasis) -> BubblewrapBottlePlan:
        return prepare.resolve_plan(basis)

    def launch(
        self, plan: BubblewrapBottlePlan, *, on_progress: OnProgress = no_progress
    ) -> AbstractContextManager[Bottle]:
        """Start a bottle; see `BottleBackend.launch`."""
        return launch.launch(plan, lambda bottle: self.provision(plan, bottle, on_progress), on_progress)

    def attach(self, slug: str) -> AbstractContextManager[Bottle]:
        """Refuse: the sandbox ends with its kernel."""
        raise UsageError("a bubblewrap bottle ends with its kernel", hint="Use --backend docker with --keep.")

    def prepare_cleanup(self) -> BottleCleanupPlan:
        """List what dead kernels left."""
        return cleanup.prepare_cleanup()

    def cleanup(self, plan: BottleCleanupPlan) -> None:
        """Remove what *plan* lists."""
        cleanup.cleanup(plan)

    def stop(self, slug: str) -> None:
        """Remove a bottle and all it has."""
        cleanup.stop(slug)

    def enumerate_active(self) -> Sequence[ActiveAgent]:
        """Return the live bottles of this user."""
        return enumerate.enumerate_active()
