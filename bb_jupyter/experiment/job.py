"""What a run gets and what it reports to: values that travel to the process in which the run is executed."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bb_jupyter.backend.execution import Completed
from bb_jupyter.core.agent_run import AgentResult
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.errors import UsageError
from bb_jupyter.experiment.budget import Spent
from bb_jupyter.experiment.definition import CHECK_TIME, WORK, Definition, RunCheck, RunSpec, Variant, filled
from bb_jupyter.experiment.record import CheckResult
from bb_jupyter.manifest.bottle_loading import Definitions


@dataclass(frozen=True)
class Finished:
    """The argument of a check in Python: the bottle as the agent left it.  All data from the bottle is hostile.

    Attributes:
        bottle: still running; the workspace is `work` in its home.
        run: the run that is checked.
        result: the agent's result; `None` for a shell script.
        env: variables of the run, and `BB_PROMPT`: the label of its prompt.
        failure: why the agent failed; empty after a success.
    """

    bottle: BottleHandle
    run: RunSpec
    result: AgentResult | None
    env: dict[str, str]
    failure: str = ""

    def sh(self, command: str, *, timeout: float = CHECK_TIME) -> Completed:
        """Run a shell command in the workspace, and wait for its end.

        Args:
            command: for `sh -c`.
            timeout: seconds.

        Raises:
            BottleGone: the bottle died.
        """
        return self.bottle.exec(["sh", "-c", command], cwd=WORK, env=self.env, timeout=timeout).wait()

    def read(self, path: str) -> bytes:
        """Return the content of a file of the workspace.

        Raises:
            UsageError: there is no such file.
        """
        done = self.bottle.exec(["cat", "--", path], cwd=WORK, timeout=CHECK_TIME).wait()
        if done.returncode:
            raise UsageError(f"the agent left no file {path!r}")
        return done.stdout


#: A check in Python: returns whether the run passed.
PythonCheck = Callable[[Finished], bool | CheckResult]


def source_of(check: PythonCheck | None) -> str:
    """Return the name and a hash of a check in Python, so that a changed check is noticed; empty for none."""
    if check is None:
        return ""
    try:
        text = inspect.getsource(check)
    except (OSError, TypeError):
        code = getattr(check, "__code__", None)
        text = repr((code.co_code, code.co_names, code.co_consts)) if code else ""
    name = getattr(check, "__qualname__", type(check).__qualname__)
    return f"{name} {hashlib.sha256(text.encode()).hexdigest()}"


@dataclass(frozen=True)
class Job:
    """One run to execute.

    Attributes:
        token: identifies this call of `run` or `resume`; preparations and cancellations concern one call only.
        definition: the experiment.
        spec: the run.
        inputs: folder with the packed inputs, on the host that executes the run.
        workspaces: prompt → digest of its workspace.
        tests: prompt → digest of its hidden tests.
        check: check in Python, for prompts without a check of their own.
        bottles: bottles that the kernel has defined (`%%bottle_manifest`); no file has them.
        egress_left: bytes that the experiment's budget had left when the run was submitted; `None` for no budget.
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
        """The agent with its settings."""
        return self.definition.agents[self.spec.agent]

    @property
    def prompt(self) -> str:
        """The prompt with its parameters filled in."""
        return filled(self.definition.prompts[self.spec.prompt].prompt, self.spec.parameters)

    @property
    def env(self) -> dict[str, str]:
        """Variables of the run."""
        return {**self.variant.env, **self.spec.parameters, "BB_SEED": str(self.spec.seed)}

    @property
    def check_env(self) -> dict[str, str]:
        """Variables of the check: those of the run, and the prompt's label, so that one check can serve many tasks."""
        return {**self.env, "BB_PROMPT": self.spec.prompt}

    @property
    def run_check(self) -> RunCheck | PythonCheck | None:
        """The run's check; with `None`, a run passes when its agent succeeds."""
        return self.definition.prompts[self.spec.prompt].check or self.check or self.definition.check

    @property
    def most_egress(self) -> int | None:
        """Most bytes that the run's gateway lets pass; `None` for no limit."""
        limits = (self.definition.limits.egress, self.egress_left)
        return min((each for each in limits if each is not None), default=None)

    @property
    def workspace(self) -> str:
        """Digest of the run's workspace; empty for none."""
        return self.workspaces.get(self.spec.prompt, "")

    def bottle_name(self, nonce: str) -> str:
        """Return a name for a bottle of the run."""
        return f"{self.definition.name[:24].rstrip('-')}-{self.spec.id}-{nonce}"


class RunWatcher(Protocol):
    """Follows a run.  All methods are called from the run's thread."""

    def events(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """Take the agent's events since the last call, as `AgentEvent.as_dict` returns them."""

    def used(self, spent: Spent) -> None:
        """Take the total that the run has used so far."""

    def cancelled(self) -> str:
        """Return why the run must end now; empty while it may go on."""
