"""A running bottle: run commands in it, copy files in and out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from bb_jupyter.agent import provisioning
from bb_jupyter.agent.guest import CommandRunner, Guest
from bb_jupyter.agent.registry import get_provider
from bb_jupyter.backend.execution import Execution
from bb_jupyter.backend.plan import BottlePlan
from bb_jupyter.backend.shared.archive import BeforeCopy, CopyReport, nothing
from bb_jupyter.backend.shared.bottle_broker import BottleBroker
from bb_jupyter.backend.shared.network import Network
from bb_jupyter.backend.state import BottleRecord
from bb_jupyter.gateway.egress_plan import egress_plan
from bb_jupyter.process import deferred_interrupts
from bb_jupyter.process.identity import ProcessIdentity

if TYPE_CHECKING:
    from bb_jupyter.gateway.egress_plan import EgressPlan, RoutePlan


class Bottle(CommandRunner[Execution], ABC):
    """A running bottle, as its backend's `launch` yields it.  Every method is thread-safe.

    A backend implements `start`, which `exec` calls with its arguments as one `Command`.

    Attributes:
        plan: what was launched.
        network: its gateway and policy.
        broker: its git gate and its way to the human.
        snapshot_needs_bottle: a snapshot is deleted with its last bottle, so one must run until the last launch.
    """

    snapshot_needs_bottle: ClassVar[bool] = False
    plan: BottlePlan
    network: Network
    broker: BottleBroker

    def allow(self, routes: EgressPlan) -> int:
        """Replace the policy by *routes*; start a gateway if there is none, or if it died.

        Returns:
            The policy's generation.

        Raises:
            ManifestError: the policy is refused; nothing has changed.
            BackendUnavailable: the gateway does not start.
            BottleGone: the bottle died.
        """
        # Without deferring, an interrupt could leave a gateway running that nothing would stop.
        with deferred_interrupts.defer_sigint():
            if self.network.state == "open":
                return self.network.replace(routes)
            self.network.open(routes)
            try:
                self.trust_gateway()
            except BaseException:
                self.network.close()  # no network is better than one whose certificates no program trusts
                raise
            return self.network.generation

    def allow_more(self, *routes: RoutePlan) -> int:
        """Add routes to the policy in force; see `allow`."""
        gate = self.plan.git_gate_plan
        return self.allow((self.network.routes or egress_plan(git_hosts=gate.hosts if gate else ())).allowing(*routes))

    def trust_gateway(self) -> None:
        """Install the gateway's CA in the bottle; the agent's provider does it."""
        self._provision_ca(self)

    def _provision_ca(self, guest: Guest) -> None:
        """Let the agent's provider put the gateway's CA into the bottle, which it uses as *guest*."""
        declared = self.plan.agent_provision
        if declared is None:
            provisioning.provision_ca(self.plan, guest, self.network.ca_pem)
        else:
            get_provider(declared.provider).provision_ca(self.plan, guest, self.network.ca_pem)

    @property
    def name(self) -> str:
        """Its name, which the user chose."""
        return self.plan.spec.name

    @property
    def slug(self) -> str:
        """Its identity, never used for another bottle."""
        return self.plan.slug

    @abstractmethod
    def cp_in(self, source: Path, target: str, *, take: Collection[str] = ()) -> CopyReport:
        """Copy a file or directory of the host into the bottle, as `docker cp` does.

        Args:
            source: path on the host; ignore rules do not apply, and what looks like a credential stays out.
            target: path in the bottle, relative to its home; an existing directory takes the source under its own name.
            take: patterns of what goes in although it looks like a credential; a file that is *source* itself does.

        Returns:
            The number of entries copied, and the names of those left out.

        Raises:
            UsageError: the source does not exist.
            BottleGone: the bottle died or was stopped.
        """

    @abstractmethod
    def cp_out(
        self, source: str, target: Path, *, take: Collection[str] = (), before: BeforeCopy = nothing
    ) -> CopyReport:
        """Copy a file or directory out of the bottle; all of it, or nothing.

        The content is hostile: only plain files, directories and links that stay inside the copy are made, and
        what a program of this host would obey where it lies stays out (`policy.obeyed_files`).

        Args:
            source: path in the bottle, relative to its home.
            target: path on the host; an existing directory takes the source under its own name.
            take: patterns of what is wanted although a program of this host obeys it, such as `conftest.py`.
            before: called with the report before anything of the target changes.

        Returns:
            The number of entries copied, and the names of those refused.

        Raises:
            UsageError: the source does not exist in the bottle.
            BottleGone: the bottle died or was stopped.
        """

    @abstractmethod
    def snapshot(self) -> AbstractContextManager[BottlePlan]:
        """Keep a copy of this bottle's files, with which other bottles can start until the context is left.

        Every backend copies the home, some the whole file system; a file that is being written may be incomplete.
        Routes that `allow` added and the state of the gateway are not copied.  Running programs are copied only by a
        backend that clones the memory of a machine.

        Yields:
            The plan of such a bottle, to be `renamed` before its launch.  It has the limits, environment and routes
            that this bottle was launched with, without `keep`.

        Raises:
            BackendUnavailable: the files cannot be copied.
            BottleGone: the bottle died or was stopped.
        """

    @property
    @abstractmethod
    def alive(self) -> bool:
        """Whether commands can still run in it."""


_PlanT = TypeVar("_PlanT", bound=BottlePlan)


def branch_plan(plan: _PlanT) -> _PlanT:
    """Return the plan that `Bottle.snapshot` yields, to which the backend adds where the files are."""
    return replace(plan, spec=replace(plan.spec, keep=False), copies=(), branch_of=plan.spec.name)


@dataclass(frozen=True)
class ActiveAgent:
    """A live bottle of this user, of any kernel.

    Attributes:
        slug: its identity.
        name: its name, which the user chose.
        backend: name of its backend.
        agent: name of its agent; empty for a plain shell.
        bottle: name of its manifest; empty for none.
        state: `running`, or the problem, such as `no gateway`.
        created: seconds since the epoch.
        owner: the process that launched it or attached to it last.
        keep: it may outlive its owner.
    """

    slug: str
    name: str
    backend: str
    agent: str
    bottle: str
    state: str
    created: float
    owner: ProcessIdentity
    keep: bool = False

    @classmethod
    def of_record(cls, record: BottleRecord) -> ActiveAgent:
        """Return the bottle that a record describes."""
        return cls(
            slug=record.slug,
            name=record.name,
            backend=record.backend,
            agent=record.agent,
            bottle=record.bottle,
            state=record.state,
            created=record.created,
            owner=record.owner,
            keep=record.keep,
        )
