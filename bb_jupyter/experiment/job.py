"""What a run needs to know, and to whom it tells how it goes: both travel to where it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bb_jupyter.experiment.budget import Spent
from bb_jupyter.experiment.definition import Check, Definition, Variant
from bb_jupyter.experiment.grid import RunSpec, filled
from bb_jupyter.manifest.bottles import Definitions

if TYPE_CHECKING:
    from bb_jupyter.experiment.check import Finished
    from bb_jupyter.experiment.outcome import Verdict

#: A check in Python: it gets what the agent left, and says whether that is good.
PythonCheck = Callable[["Finished"], "bool | Verdict"]


@dataclass(frozen=True)
class Job:
    """One run to do.

    Attributes:
        token: names this call of `run` or `resume`; what is prepared or cancelled is so for it alone.
        definition: the experiment.
        spec: the run.
        inputs: folder with the packed inputs, where the run is done.
        workspaces: prompt → digest of its workspace.
        tests: prompt → digest of its hidden tests.
        check: in Python, for prompts that have no check of their own.
        bottles: definitions of the kernel's own (`%%bottle_manifest`), which are nowhere else.
        egress_left: bytes that the experiment had left when the run was handed over; `None` for no budget.
    """

    token: str
    definition: Definition
    spec: RunSpec
    inputs: Path
    workspaces: Mapping[str, str] = field(default_factory=dict)
    tests: Mapping[str, str] = field(default_factory=dict)
    check: PythonCheck | None = None
    bottles: Definitions = field(default_factory=dict)
    egress_left: int | None = None

    @property
    def variant(self) -> Variant:
        """The agent, and how it is set."""
        return self.definition.agents[self.spec.agent]

    @property
    def prompt(self) -> str:
        """What the agent is asked, parameters put in."""
        return filled(self.definition.prompts[self.spec.prompt].prompt, self.spec.parameters)

    @property
    def env(self) -> dict[str, str]:
        """Variables of this run."""
        return {**self.variant.env, **self.spec.parameters, "BB_SEED": str(self.spec.seed)}

    @property
    def check_env(self) -> dict[str, str]:
        """Variables of its check: those of the run, and the label of its prompt, for one check of many tasks."""
        return {**self.env, "BB_PROMPT": self.spec.prompt}

    @property
    def judge(self) -> Check | PythonCheck | None:
        """The check that decides about this run; `None`: that its agent ends well."""
        return self.definition.prompts[self.spec.prompt].check or self.check or self.definition.check

    @property
    def most_egress(self) -> int | None:
        """How many bytes the run's gateway may let pass; `None` for no limit."""
        limits = (self.definition.limits.egress, self.egress_left)
        return min((each for each in limits if each is not None), default=None)

    @property
    def workspace(self) -> str:
        """Digest of what the run starts with; empty for nothing."""
        return self.workspaces.get(self.spec.prompt, "")

    def bottle_name(self, nonce: str) -> str:
        """Return what the run's bottle is called."""
        return f"{self.definition.name[:24].rstrip('-')}-{self.spec.id}-{nonce}"


class Watch(Protocol):
    """Who follows a run; every method may be called from the run's thread only."""

    def events(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """Take what the agent did since the last call, as `AgentEvent.as_dict` gives it."""

    def used(self, spent: Spent) -> None:
        """Take what the run has used so far, in all."""

    def cancelled(self) -> str:
        """Return why the run shall end now; empty when it shall go on."""
