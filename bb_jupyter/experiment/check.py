"""Whether a run did its task: decided by a shell command, a function, or hidden tests in a second bottle."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from bb_jupyter.backend.execution import Completed, Execution
from bb_jupyter.core.session import current
from bb_jupyter.errors import UsageError
from bb_jupyter.experiment import provisioning
from bb_jupyter.experiment.definition import CHECK_TIME, TESTS, WORK, RunCheck
from bb_jupyter.experiment.job import Finished, Job
from bb_jupyter.experiment.record import CheckResult

#: Most characters of a check's output that are kept; the end is kept.
_DETAIL = 64 << 10
#: Seconds between two looks at whether the run was cancelled.
_TICK = 0.2
#: Reads an execution to its end.
Wait = Callable[[Execution], Completed]


def check_run(job: Job, finished: Finished, wait: Wait, on_launch: Callable[[str], object]) -> CheckResult:
    """Check whether a run did its task.

    Args:
        job: the run.
        finished: what the agent left.
        wait: reads an execution to its end, or until the run is cancelled.
        on_launch: is called with the slug of a second bottle.

    Raises:
        BottleError: a bottle failed; this says nothing about the run.
        UsageError: a check in Python returned nothing.
    """
    check = job.run_check
    if check is None:
        return CheckResult(not finished.failure)
    if not isinstance(check, RunCheck):
        return _result_of(check(finished))
    if check.hidden:
        return _run_hidden_tests(job, check, finished, wait, on_launch)
    command = ["sh", "-c", check.command]
    return _by_status(wait(finished.bottle.exec(command, cwd=WORK, env=finished.env, timeout=CHECK_TIME)))


def wait_unless(cancelled: Callable[[], str]) -> Wait:
    """Return a function that reads an execution to its end, and kills it as soon as *cancelled* returns a reason."""

    def wait(execution: Execution) -> Completed:
        with execution:
            while execution.running:
                execution.poll(_TICK)
                if cancelled():
                    execution.kill()
            return execution.wait()

    return wait


def _result_of(returned: object) -> CheckResult:
    if isinstance(returned, CheckResult):
        return returned
    if returned is None:
        raise UsageError("the check returned nothing", hint="Let it return True, False or a CheckResult.")
    return CheckResult(bool(returned))


def _run_hidden_tests(
    job: Job, tests: RunCheck, finished: Finished, wait: Wait, on_launch: Callable[[str], object]
) -> CheckResult:
    """Test a copy of the agent's workspace in a second bottle.

    The first bottle is stopped before.  The second one may use the bytes of egress that the first left over.
    """
    used = finished.bottle.bottle.network.sync()
    with tempfile.TemporaryDirectory(prefix="bb-checked-") as folder:
        finished.bottle.cp_out(WORK, Path(folder, WORK), take=("*",))
        finished.bottle.stop()
        options = provisioning.launch_options(job.definition, "", tests.bottle, tests.image)
        with current().launch(job.bottle_name(f"c{secrets.token_hex(2)}"), options) as second:
            on_launch(second.slug)
            if job.most_egress is not None:
                second.bottle.network.limit_egress(max(0, job.most_egress - used))
            second.cp_in(Path(folder, WORK), WORK, take=("*",))
            second.cp_in(provisioning.tree(job, job.tests[job.spec.prompt]), TESTS)
            env = {**finished.env, "WORK": f"{second.plan.guest_home}/{WORK}"}
            command = ["sh", "-c", tests.command]
            return _by_status(wait(second.exec(command, cwd=TESTS, env=env, timeout=CHECK_TIME)))


def _by_status(done: Completed) -> CheckResult:
    text = (done.stdout + done.stderr).decode("utf-8", "replace")[-_DETAIL:]
    if done.timed_out:
        text += f"\nthe check was ended after {done.duration:.0f} s"
    return CheckResult(done.returncode == 0, detail=text)
