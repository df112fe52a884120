"""Whether a run did its task: a shell command, a function, or hidden tests in a second bottle."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bb_jupyter.backend.execution import Completed, Execution
from bb_jupyter.core.agent_run import AgentResult
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.session import current
from bb_jupyter.errors import UsageError
from bb_jupyter.experiment import provisioning
from bb_jupyter.experiment.definition import CHECK_TIME, TESTS, WORK, Check
from bb_jupyter.experiment.grid import RunSpec
from bb_jupyter.experiment.job import Job
from bb_jupyter.experiment.outcome import Verdict

#: How much of a check's output is kept, in characters: its end.
_DETAIL = 64 << 10
_TICK = 0.2
#: Reads an execution to its end.
Wait = Callable[[Execution], Completed]


@dataclass(frozen=True)
class Finished:
    """What a check in Python gets: the bottle as the agent left it.  All that comes from it is hostile data.

    Attributes:
        bottle: still running; the workspace is `work` in its home.
        run: which run it is.
        result: the agent's; `None` for a shell script.
        env: variables of the run, and `BB_PROMPT`: the label of its prompt.
        failure: why the agent did not end well; empty when it did.
    """

    bottle: BottleHandle
    run: RunSpec
    result: AgentResult | None
    env: dict[str, str]
    failure: str = ""

    def sh(self, command: str, *, timeout: float = CHECK_TIME) -> Completed:
        """Run a shell command in the workspace, to its end.

        Args:
            command: for `sh -c`.
            timeout: seconds.

        Raises:
            BottleGone: the bottle died.
        """
        return self.bottle.exec(["sh", "-c", command], cwd=WORK, env=self.env, timeout=timeout).wait()

    def read(self, path: str) -> bytes:
        """Return a file of the workspace.

        Raises:
            UsageError: there is none.
        """
        done = self.bottle.exec(["cat", "--", path], cwd=WORK, timeout=CHECK_TIME).wait()
        if done.returncode:
            raise UsageError(f"the agent left no file {path!r}")
        return done.stdout


def judge(job: Job, finished: Finished, wait: Wait, launched: Callable[[str], object]) -> Verdict:
    """Say whether a run did its task.

    Args:
        job: the run.
        finished: what the agent left.
        wait: reads an execution to its end, or until the run is cancelled.
        launched: is told the slug of a second bottle.

    Raises:
        BottleError: a bottle failed, which says nothing about the run.
    """
    check = job.judge
    if check is None:
        return Verdict(not finished.failure)
    if not isinstance(check, Check):
        return _by_function(check(finished))
    if check.hidden:
        return _by_hidden_tests(job, check, finished, wait, launched)
    command = ["sh", "-c", check.command]
    return _verdict(wait(finished.bottle.exec(command, cwd=WORK, env=finished.env, timeout=CHECK_TIME)))


def waiting(cancelled: Callable[[], str]) -> Wait:
    """Return what reads an execution to its end, and kills it when the run is cancelled."""

    def wait(execution: Execution) -> Completed:
        with execution:
            while execution.running:
                execution.poll(_TICK)
                if cancelled():
                    execution.kill()
            return execution.wait()

    return wait


def _by_function(found: object) -> Verdict:
    if isinstance(found, Verdict):
        return found
    if found is None:
        raise UsageError("the check returned nothing", hint="Let it return True, False or a Verdict.")
    return Verdict(bool(found))


def _by_hidden_tests(
    job: Job, tests: Check, finished: Finished, wait: Wait, launched: Callable[[str], object]
) -> Verdict:
    """Copy out what the agent left, end its bottle, and test the copy in another one, which has what bytes are left."""
    used = finished.bottle.bottle.network.sync()
    with tempfile.TemporaryDirectory(prefix="bb-judged-") as folder:
        finished.bottle.cp_out(WORK, Path(folder, WORK))
        finished.bottle.stop()
        options = provisioning.launch_options(job.definition, "", tests.bottle, tests.image)
        with current().launch(job.bottle_name(f"c{secrets.token_hex(2)}"), options) as second:
            launched(second.slug)
            if job.most_egress is not None:
                second.bottle.network.limit_egress(max(0, job.most_egress - used))
            second.cp_in(Path(folder, WORK), WORK)
            second.cp_in(provisioning.tree(job, job.tests[job.spec.prompt]), TESTS)
            env = {**finished.env, "WORK": f"{second.plan.guest_home}/{WORK}"}
            command = ["sh", "-c", tests.command]
            return _verdict(wait(second.exec(command, cwd=TESTS, env=env, timeout=CHECK_TIME)))


def _verdict(done: Completed) -> Verdict:
    text = (done.stdout + done.stderr).decode("utf-8", "replace")[-_DETAIL:]
    if done.timed_out:
        text += f"\nthe check was ended after {done.duration:.0f} s"
    return Verdict(done.returncode == 0, detail=text)
