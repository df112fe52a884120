"""The contract of a backend: `prepare → launch → cleanup → enumerate`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from bb_jupyter.backend.bottle import ActiveAgent, Bottle
from bb_jupyter.backend.copying import CopyPlan, plan_copies
from bb_jupyter.backend.plan import BottleCleanupPlan, BottlePlan
from bb_jupyter.backend.spec import BottleSpec
from bb_jupyter.errors import UsageError
from bb_jupyter.manifest import validate_name

PlanT = TypeVar("PlanT", bound=BottlePlan)
CleanupPlanT = TypeVar("CleanupPlanT", bound=BottleCleanupPlan)


@dataclass(frozen=True)
class Progress:
    """One step of a launch, for a person to watch.

    Attributes:
        stage: what goes on, such as `build image`, `start`, `copy in`.
        done: steps done, of `total`; both 0 when that is not known.
        total: steps in all.
        line: a line of log, such as a build's; empty for none.
    """

    stage: str
    done: int = 0
    total: int = 0
    line: str = ""


OnProgress = Callable[[Progress], None]


def no_progress(step: Progress) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Check:
    """One finding of `%bottle doctor`.

    Attributes:
        name: what was looked at.
        verdict: `ok`, `warning` or `failed`.
        detail: what was found.
        fix: the command or setting that mends it; empty when nothing is to be done.
    """

    name: str
    verdict: Literal["ok", "warning", "failed"]
    detail: str
    fix: str = ""


class BottleBackend(ABC, Generic[PlanT, CleanupPlanT]):
    """Where bottles run.  Every method may be called from any thread.

    Attributes:
        name: as `--backend` takes it.
        isolation: one or two words for the preflight, such as `container`.
    """

    name: str
    isolation: str

    @abstractmethod
    def is_available(self) -> bool:
        """Whether this backend looks usable: cheap, no daemon round trip, never raises."""

    @abstractmethod
    def diagnose(self) -> list[Check]:
        """Look thoroughly (daemon round trips, trial sandboxes): what works, what does not, how to mend it."""

    def prepare(self, spec: BottleSpec, *, slug: str, stage_dir: Path) -> PlanT:
        """Decide and check everything about a launch; start nothing.

        Args:
            spec: what the user asked for.
            slug: the identity the bottle will have.
            stage_dir: the bottle's own directory for files that the launch needs; created when the first is written.

        Returns:
            The plan: what the preflight shows and `launch` takes.

        Raises:
            UsageError: something the user gave cannot be right.
            ManifestError: something in a manifest cannot be right.
            BackendUnavailable: this host cannot run it.
        """
        validate_name("bottle", spec.name)
        for name in spec.env:
            _check_variable(name)
        return self._resolve_plan(spec, slug, stage_dir, plan_copies(spec.copies))

    @abstractmethod
    def _resolve_plan(self, spec: BottleSpec, slug: str, stage_dir: Path, copies: tuple[CopyPlan, ...]) -> PlanT:
        """Make the backend's plan from a validated spec."""

    @abstractmethod
    def launch(self, plan: PlanT, *, on_progress: OnProgress = no_progress) -> AbstractContextManager[Bottle]:
        """Start the bottle of *plan*, provisioned and ready for commands.

        The caller has claimed the plan's record (`backend.state.claim`).  An exception or interrupt before the bottle is
        yielded leaves nothing behind.  Leaving the context removes the bottle, but for one that is kept (`spec.keep`):
        that is let go and runs on until `stop`.

        Raises:
            BackendUnavailable: the engine or the host refuses.
            BuildFailed: an image cannot be built.
        """

    @abstractmethod
    def attach(self, slug: str) -> AbstractContextManager[Bottle]:
        """Hold a kept bottle again whose owner died (the caller has taken its record over).

        Raises:
            BottleGone: it does not run any more.
            UsageError: this backend's bottles end with their kernel.
        """

    def provision(self, plan: PlanT, bottle: Bottle, on_progress: OnProgress = no_progress) -> None:
        """Put what the plan names into a fresh bottle: CA, prompt, skills, the provider's own, git, the way to the human.

        Raises:
            BottleError: a step failed; the message names it.
        """
        if plan.agent_provision is not None:
            plan.agent_provision.apply(plan, bottle, on_progress)

    def supervise_mcp_url(self, plan: PlanT) -> str:
        """Return the URL by which the bottle reaches its human; empty when it is not supervised."""
        return "http://supervise:9100/" if plan.supervise_plan is not None else ""

    @abstractmethod
    def prepare_cleanup(self) -> CleanupPlanT:
        """List what bottles with dead owners left, without touching it; kept and live bottles are never named."""

    @abstractmethod
    def cleanup(self, plan: CleanupPlanT) -> None:
        """Remove what *plan* lists.  Idempotent; what is already gone is no error."""

    @abstractmethod
    def stop(self, slug: str) -> None:
        """Remove the bottle *slug* and all it has, whoever owns it.  Idempotent."""

    @abstractmethod
    def enumerate_active(self) -> Sequence[ActiveAgent]:
        """Return all live bottles of this user on this host, of every kernel, oldest first; one engine call at most."""


def _check_variable(name: str) -> None:
    if not name.isidentifier() or not name.isascii():
        raise UsageError(f"not a name of a variable: {name!r}", hint="Write --env NAME=VALUE or --env NAME.")
