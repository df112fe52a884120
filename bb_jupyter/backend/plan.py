"""The plan of a launch, decided and checked before anything starts; the preflight shows it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bb_jupyter.backend.shared.copying import CopyPlan
from bb_jupyter.backend.spec import BottleSpec
from bb_jupyter.text.table import Markup, escaped, html_table, text_table

if TYPE_CHECKING:
    from bb_jupyter.agent.provision_plan import AgentProvisionPlan
    from bb_jupyter.broker.broker_plan import GitGatePlan, SupervisePlan
    from bb_jupyter.gateway.egress_plan import EgressPlan

#: Home of the agent in every bottle.
GUEST_HOME = "/home/agent"
#: User of the agent in every bottle.
GUEST_USER = "agent"
GUEST_UID = 1000


@dataclass(frozen=True)
class LimitPlan:
    """One limit as this host can enforce it.

    Attributes:
        name: `cpus`, `memory`, `pids`, `disk` or `timeout`.
        value: for people, such as `4 GiB`; empty when there is none.
        means: what enforces it, such as `cgroup v2`; empty when nothing does.
    """

    name: str
    value: str
    means: str

    def __str__(self) -> str:
        if not self.value:
            return f"{self.name} unlimited"
        return (
            f"{self.name} {self.value} ({self.means})" if self.means else f"{self.name} {self.value} NOT ENFORCED here"
        )


@dataclass(frozen=True, kw_only=True)
class PlanBasis:
    """The part of a plan that is the same on every backend; `BottleBackend.prepare` makes it.

    Attributes:
        spec: what the user asked for.
        slug: the bottle's identity, never used for another bottle.
        stage_dir: directory on the host for files that the launch needs; the bottle's own.
        copies: the files that are copied in.
        guest_home: the agent's home in the bottle.
        agent_provision: the provider's plan; `None` for a plain shell.
        egress_plan: routes of the gateway; `None` means no network at all.
        git_gate_plan: repositories behind the git gate; `None` for none.
        supervise_plan: how the agent may ask the human; `None` if it may not.
    """

    spec: BottleSpec
    slug: str
    stage_dir: Path
    copies: tuple[CopyPlan, ...] = ()
    guest_home: str = GUEST_HOME
    agent_provision: AgentProvisionPlan | None = None
    egress_plan: EgressPlan | None = None
    git_gate_plan: GitGatePlan | None = None
    supervise_plan: SupervisePlan | None = None

    @property
    def declared_env(self) -> dict[str, str]:
        """Variables of every command: the provider's, then the user's own, which win."""
        return {**(self.agent_provision.env if self.agent_provision else {}), **self.spec.env}

    def fields(self) -> dict[str, Any]:
        """Return what a backend's plan takes over from its basis."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(PlanBasis)}


@dataclass(frozen=True, kw_only=True)
class BottlePlan(PlanBasis):
    """A launch, resolved by a backend.  Holds no secret; safe to show.

    Attributes:
        root: what the file system is, in words: an image and its id, or which parts of the host.
        user: who commands run as, in words.
        limits: each limit and what enforces it.
        env: variables of every command.
        warnings: what the person should know before it starts.
        branch_of: name of the bottle whose files it starts with (`Bottle.snapshot`); empty for none.
    """

    root: str
    user: str
    limits: tuple[LimitPlan, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    branch_of: str = ""

    def renamed(self, name: str, slug: str, stage_dir: Path) -> Self:
        """Return the same launch for a bottle of another identity."""
        return replace(self, spec=replace(self.spec, name=name), slug=slug, stage_dir=stage_dir)

    @property
    def git_gate_insteadof_host(self) -> str:
        """Host (and port) by which the bottle's git reaches the gate."""
        return "git-gate:9418"

    @property
    def git_gate_insteadof_scheme(self) -> str:
        """Scheme by which the bottle's git reaches the gate."""
        return "http"

    def rows(self) -> list[tuple[str, str]]:
        """Return the preflight as (label, text) rows, the most important first."""
        spec = self.spec
        rows = [
            ("backend", f"{spec.backend} ({spec.backend_reason})" if spec.backend_reason else spec.backend),
            ("root", f"{self.root}; files of '{self.branch_of}'" if self.branch_of else self.root),
            ("user", self.user),
            ("network", self._network()),
            ("limits", ", ".join(map(str, self.limits)) or "none"),
            ("copied in", "; ".join(map(str, self.copies)) or "nothing"),
        ]
        if self.agent_provision is not None:
            rows[1:1] = self.agent_provision.rows()
        if self.git_gate_plan is not None and self.git_gate_plan.repos:
            rows.append(("git gate", self.git_gate_plan.summary()))
        if self.supervise_plan is not None:
            rows.append(("supervised", self.supervise_plan.summary()))
        if spec.env:
            rows.append(("environment", ", ".join(sorted(spec.env))))
        if spec.keep:
            rows.append(("kept", "outlives this kernel; `%bottle attach` finds it again"))
        return rows + [("warning", warning) for warning in self.warnings]

    def text(self) -> str:
        """Return the preflight as plain text."""
        return f"bottle {self.spec.name}\n{text_table(self.rows(), indent='  ')}"

    def _network(self) -> str:
        return "none" if self.egress_plan is None else self.egress_plan.summary()

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        title = Markup(f"bottle <b>{escaped(self.spec.name)}</b>")
        return html_table(self.rows(), labels=True, caption=title)


@dataclass(frozen=True)
class Orphan:
    """One thing that a dead owner's bottle left.

    Attributes:
        slug: the bottle's.
        kind: `container`, `process`, `cgroup`, `state`, …
        what: its id or path.
    """

    slug: str
    kind: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what} of {self.slug}"


@dataclass(frozen=True)
class BottleCleanupPlan:
    """What `cleanup` would remove."""

    orphans: tuple[Orphan, ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.orphans)

    def __str__(self) -> str:
        return "\n".join(map(str, self.orphans)) or "nothing to clean up"
