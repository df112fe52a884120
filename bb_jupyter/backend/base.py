"""The contract of a backend: `prepare → launch → cleanup → enumerate`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from bb_jupyter import manifest
from bb_jupyter.agent import provisioning
from bb_jupyter.agent.credentials import check_token, resolve_token
from bb_jupyter.agent.planner import plan_agent
from bb_jupyter.agent.provision_plan import AgentProvisionPlan
from bb_jupyter.agent.registry import get_provider
from bb_jupyter.backend.bottle import ActiveAgent, Bottle
from bb_jupyter.backend.plan import GUEST_HOME, BottleCleanupPlan, BottlePlan, PlanBasis
from bb_jupyter.backend.shared.bottle_broker import has_broker, services
from bb_jupyter.backend.shared.copying import plan_copies
from bb_jupyter.backend.spec import BottleSpec
from bb_jupyter.broker.broker_plan import GitGatePlan, SupervisePlan, check_git_gate
from bb_jupyter.errors import UsageError
from bb_jupyter.gateway.egress_plan import EgressPlan, egress_plan, route_configs
from bb_jupyter.manifest import validate_name

PlanT = TypeVar("PlanT", bound=BottlePlan)


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


class BottleBackend(ABC, Generic[PlanT]):
    """Where bottles run.  Every method may be called from any thread.

    Attributes:
        name: as `--backend` takes it.
        isolation: one or two words for the preflight, such as `container`.
        host_programs: its bottles run this host's programs instead of an image.
        preference: where nobody names a backend, the available one with the highest number is chosen; `None`: it is
            used only when it is named.
    """

    name: str
    isolation: str
    preference: int | None = None
    host_programs: bool = False

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
        with manifest.located(spec.manifest, spec.agent, spec.project):
            return self._resolve_plan(self._basis(spec, slug, stage_dir))

    def _basis(self, spec: BottleSpec, slug: str, stage_dir: Path) -> PlanBasis:
        agent = None
        if spec.agent is not None:
            agent = plan_agent(
                spec.agent,
                spec.manifest,
                env=spec.env,
                project=spec.project,
                guest_home=GUEST_HOME,
                host_programs=self.host_programs,
            )
        git_gate = _plan_git_gate(spec)
        return PlanBasis(
            spec=spec,
            slug=slug,
            stage_dir=stage_dir,
            copies=plan_copies(spec.copies),
            agent_provision=agent,
            egress_plan=_plan_egress(spec, agent, git_gate),
            git_gate_plan=git_gate,
            supervise_plan=_plan_supervise(spec),
        )

    @abstractmethod
    def _resolve_plan(self, basis: PlanBasis) -> PlanT:
        """Make the backend's plan from what has been validated."""

    @abstractmethod
    def launch(self, plan: PlanT, *, on_progress: OnProgress = no_progress) -> AbstractContextManager[Bottle]:
        """Start the bottle of *plan*, provisioned and ready for commands.

        The caller has claimed the plan's record (`backend.state.claim`).  An exception or interrupt before the bottle
        is yielded leaves nothing behind.  Leaving the context removes the bottle, but for one that is kept
        (`spec.keep`): that is let go and runs on until `stop`.

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
        """Put what the plan names into a fresh bottle: CA, prompt, skills, the provider's own, git, supervision.

        Raises:
            BottleError: a step failed; the message names it.
        """
        if plan.egress_plan is not None:
            on_progress(Progress("gateway", line=plan.egress_plan.summary()))
            bottle.network.open(plan.egress_plan)
            bottle.trust_gateway()
        if not plan.branch_of:  # else it is among its files already, as the other bottle's agent left it
            self._provision_files(plan, bottle, on_progress)
        if has_broker(plan):
            on_progress(Progress("broker", line=", ".join(services(plan))))
            bottle.broker.open()

    def _provision_files(self, plan: PlanT, bottle: Bottle, on_progress: OnProgress) -> None:
        provider = get_provider(plan.agent_provision.provider) if plan.agent_provision else None
        if provider is not None:
            on_progress(Progress("agent", line=provider.title))
            provider.provision_prompt(plan, bottle)
            provider.provision_skills(plan, bottle)
            provider.provision(plan, bottle)
        if plan.git_gate_plan is not None:
            configure = provider.provision_git if provider else provisioning.provision_git
            configure(plan, bottle, plan.git_gate_plan)
        if provider is not None and (url := self.supervise_mcp_url(plan)):
            provider.provision_supervise_mcp(plan, bottle, url)

    def supervise_mcp_url(self, plan: PlanT) -> str:
        """Return the URL by which the bottle reaches its human; empty when it is not supervised."""
        return "http://supervise:9100/" if plan.supervise_plan is not None else ""

    @abstractmethod
    def prepare_cleanup(self) -> BottleCleanupPlan:
        """List what bottles with dead owners left, without touching it; kept and live bottles are never named."""

    @abstractmethod
    def cleanup(self, plan: BottleCleanupPlan) -> None:
        """Remove what *plan* lists.  Idempotent; what is already gone is no error."""

    @abstractmethod
    def stop(self, slug: str) -> None:
        """Remove the bottle *slug* and all it has, whoever owns it.  Idempotent."""

    @abstractmethod
    def enumerate_active(self) -> Sequence[ActiveAgent]:
        """Return all live bottles of this user on this host, of every kernel, oldest first; one engine call at most."""


def _plan_git_gate(spec: BottleSpec) -> GitGatePlan | None:
    """Plan the repositories and make sure that what they need is there; the user's name alone needs no gate."""
    plan = GitGatePlan.from_manifest(spec.manifest.git_gate)
    if plan == GitGatePlan():
        return None
    if plan.repos:
        check_git_gate(plan, resolve_token, path=spec.manifest.path)
    return plan


def _plan_supervise(spec: BottleSpec) -> SupervisePlan | None:
    asked = spec.manifest.supervise
    return SupervisePlan(asked.timeout) if asked else None


def _plan_egress(spec: BottleSpec, agent: AgentProvisionPlan | None, git_gate: GitGatePlan | None) -> EgressPlan | None:
    """Put the routes together and make sure that each credential is there.

    Without routes there is no network; but for a bottle whose agent may ask for hosts: it has a gateway that refuses
    everything from the start, so that its programs know the way when one is allowed while they run.
    """
    provided = agent.routes if agent else ()
    git_hosts = git_gate.hosts if git_gate else ()
    plan = egress_plan(spec.manifest.egress.routes, provider=provided, allowed=spec.routes, git_hosts=git_hosts)
    for route in plan.routes:
        if route.token_ref:
            key = f"egress.routes[{route.host}].auth.token_ref"
            check_token(route.token_ref, path=spec.manifest.path, key=key)
    route_configs(plan, resolve_token)
    return plan if plan.routes or spec.manifest.supervise else None


def _check_variable(name: str) -> None:
    if not name.isidentifier() or not name.isascii():
        raise UsageError(f"not a name of a variable: {name!r}", hint="Write --env NAME=VALUE or --env NAME.")
