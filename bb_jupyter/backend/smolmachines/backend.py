"""The smolmachines backend: wires its modules together, each of which reads end to end in its own file."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from bb_jupyter.backend.base import BottleBackend, Check, OnProgress, no_progress
from bb_jupyter.backend.bottle import ActiveAgent, Bottle
from bb_jupyter.backend.plan import BottleCleanupPlan, PlanBasis
from bb_jupyter.backend.smolmachines import sdk
from bb_jupyter.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from bb_jupyter.gateway import GATE_ADDRESS, PORTS


class SmolmachinesBackend(BottleBackend[SmolmachinesBottlePlan]):
    """Bottles in microVMs.  The SDK is imported when the first method needs it; never chosen unless it is named."""

    name = "smolmachines"
    isolation = "microVM"

    def is_available(self) -> bool:
        """Whether the SDK is installed, and its target has a key or KVM."""
        return sdk.looks_usable()

    def diagnose(self) -> list[Check]:
        """Look thoroughly; see `BottleBackend.diagnose`."""
        from bb_jupyter.backend.smolmachines.diagnose import diagnose

        return diagnose()

    def _resolve_plan(self, basis: PlanBasis) -> SmolmachinesBottlePlan:
        from bb_jupyter.backend.smolmachines.prepare import resolve_plan

        return resolve_plan(basis)

    def launch(
        self, plan: SmolmachinesBottlePlan, *, on_progress: OnProgress = no_progress
    ) -> AbstractContextManager[Bottle]:
        """Start a bottle; see `BottleBackend.launch`.  A kept one is not removed at the end."""
        from bb_jupyter.backend.smolmachines.launch import launch

        return launch(plan, lambda bottle: self.provision(plan, bottle, on_progress), on_progress)

    def provision(self, plan: SmolmachinesBottlePlan, bottle: Bottle, on_progress: OnProgress = no_progress) -> None:
        """See `BottleBackend.provision`; a cloud machine's network is its own, and no gateway of ours."""
        super().provision(replace(plan, egress_plan=None) if plan.target == "cloud" else plan, bottle, on_progress)

    def supervise_mcp_url(self, plan: SmolmachinesBottlePlan) -> str:
        """See `BottleBackend.supervise_mcp_url`: by address, as the gate's."""
        return f"http://{GATE_ADDRESS}:{PORTS['supervise']}/" if plan.supervise_plan is not None else ""

    def attach(self, slug: str) -> AbstractContextManager[Bottle]:
        """Hold a kept bottle again; see `BottleBackend.attach`.  Leaving the context lets it run on."""
        from bb_jupyter.backend.smolmachines.attach import attach

        return attach(slug)

    def prepare_cleanup(self) -> BottleCleanupPlan:
        """List orphans; see `BottleBackend.prepare_cleanup`."""
        from bb_jupyter.backend.smolmachines.cleanup import prepare_cleanup

        return prepare_cleanup()

    def cleanup(self, plan: BottleCleanupPlan) -> None:
        """Remove orphans; see `BottleBackend.cleanup`."""
        from bb_jupyter.backend.smolmachines.cleanup import cleanup

        cleanup(plan)

    def stop(self, slug: str) -> None:
        """Remove a bottle; see `BottleBackend.stop`."""
        from bb_jupyter.backend.smolmachines.cleanup import stop

        stop(slug)

    def enumerate_active(self) -> Sequence[ActiveAgent]:
        """Return the live bottles; see `BottleBackend.enumerate_active`."""
        from bb_jupyter.backend.smolmachines.enumerate import enumerate_active

        return enumerate_active()
