"""One run: a fresh bottle, the agent's work, the check, and the record.  Nothing but the record stays."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import platform
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bb_jupyter.agent.changed_files import changed, listing
from bb_jupyter.agent.events import AgentEvent, Failure, Final, Text, Thinking, Usage
from bb_jupyter.core.agent_run import AgentResult
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.errors import BottleError
from bb_jupyter.experiment import provisioning, workspace
from bb_jupyter.experiment.budget import Meter
from bb_jupyter.experiment.check import check_run, wait_unless
from bb_jupyter.experiment.definition import WORK
from bb_jupyter.experiment.job import Finished, Job, RunWatcher
from bb_jupyter.experiment.provisioning import digest
from bb_jupyter.experiment.record import CheckResult, RunOutcome
from bb_jupyter.gateway.audit.history import AuditRecord, history
from bb_jupyter.manifest import format_size
from bb_jupyter.manifest.bottle_loading import override_definitions

#: Seconds between two looks at the limits, and most bytes of events in a record.
_TICK = 0.2
_MOST_EVENTS = 64 << 20
#: Most characters of an answer; of a longer one the end is kept.
_ANSWER = 4000


def execute(job: Job, folder: Path, watcher: RunWatcher) -> RunOutcome:
    """Execute a run.

    Args:
        job: the run.
        folder: folder to which the run's files are written.
        watcher: follows the run, and can cancel it.

    Returns:
        The outcome.  When this host fails, the outcome is no result; nothing is raised.
    """
    run = _Run(job, folder, watcher)
    try:
        with override_definitions(job.bottles), ExitStack() as stack:
            stack.callback(run.close)
            run.work(stack)
        return run.outcome()
    except BottleError as error:
        return RunOutcome.lost(watcher.cancelled() or f"{type(error).__name__}: {error}")
    except Exception as error:  # such as an error in a check in Python; the run is repeated after it is mended
        return RunOutcome.lost(f"{type(error).__name__}: {error}")


class _Run:
    """The state of a run in progress."""

    def __init__(self, job: Job, folder: Path, watcher: RunWatcher) -> None:
        self._job, self._folder, self._watcher = job, folder, watcher
        self._file = (folder / "events.jsonl").open("w", encoding="utf-8", errors="replace")
        self._began = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._facts: dict[str, Any] = {}
        self._meter = Meter(job.definition.limits)
        self._usage = Usage()
        self._dirty = False
        self._answer, self._failure, self._stopped, self._cancelled = "", "", "", ""
        self._changed: tuple[str, ...] | None = None
        self._check_result: CheckResult | None = None
        self._egress: dict[str, int] = {}
        self._slugs: list[str] = []

    def close(self) -> None:
        self._file.close()

    def work(self, stack: ExitStack) -> None:
        """Execute the parts of the run one after another."""
        with self._timed("launch"):
            handle = provisioning.start(self._job)
            stack.callback(handle.stop)
        self._slugs.append(handle.slug)
        self._facts = _facts(handle)
        if self._job.most_egress is not None:
            handle.bottle.network.limit_egress(self._job.most_egress)
        with self._timed("agent"):
            result = self._ask(handle) if self._job.variant.agent else None
            if result is None:
                self._script(handle)
        with self._timed("record"):
            self._write("workspace.diff", self._diff(handle))
            self._take_log(handle)
        if not self._stopped:
            with self._timed("check"):
                finished = Finished(handle, self._job.spec, result, self._job.check_env, self._failure)
                wait = wait_unless(self._watcher.cancelled)
                self._check_result = check_run(self._job, finished, wait, self._slugs.append)
                self._write("check.txt", self._check_result.detail)
        with self._timed("record"):
            self._count_egress(handle)
            handle.stop()
            self._note_egress()

    def outcome(self) -> RunOutcome:
        """Return the outcome."""
        state, counted, reason = self._end()
        return RunOutcome(
            state=state,
            counted=counted,
            reason=reason,
            score=self._check_result.score if self._check_result else None,
            answer=self._answer[-_ANSWER:],
            changed=None if self._changed is None else len(self._changed),
            seconds={**self._seconds, "total": _since(self._began)},
            usage={key: value for key, value in vars(self._usage).items() if key != "parent"},
            egress=self._egress,
            facts=self._facts,
        )

    def _end(self) -> tuple[str, bool, str]:
        if cancelled := self._cancelled or self._watcher.cancelled():
            return "stopped", False, cancelled
        if self._stopped:
            return "stopped", True, self._stopped
        if self._check_result is None or not self._check_result.passed:
            return "failed", True, self._failure or "the check did not pass"
        return "passed", True, ""

    def _ask(self, handle: BottleHandle) -> AgentResult:
        with handle.ask(self._job.prompt, env=self._job.env, cwd=WORK) as run:
            while run.running:
                self._take(run.poll(_TICK))
                if self._must_stop(handle):
                    run.kill()
                    while run.running:
                        self._take(run.poll())
        result = run.result
        self._answer, self._failure, self._changed, self._usage = (
            result.answer, result.failure, result.changed, result.usage
        )  # fmt: skip
        return result

    def _script(self, handle: BottleHandle) -> None:
        home = handle.plan.guest_home
        before = listing(handle.bottle, home, WORK, ())
        execution, log = handle.run(self._job.prompt, env=self._job.env, cwd=WORK)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with contextlib.closing(log), execution:
            while execution.running:
                chunks = execution.poll(_TICK)
                self._take([Text(text) for chunk in chunks if (text := decoder.decode(chunk.data))])
                if self._must_stop(handle):
                    execution.kill()
            done = execution.wait()
        self._answer = done.stdout.decode("utf-8", "replace")
        self._failure = f"exit status {done.returncode}" if done.returncode else ""
        self._changed = changed(before, listing(handle.bottle, home, WORK, ()))
        self._take([Failure(self._failure) if self._failure else Final()])

    def _must_stop(self, handle: BottleHandle) -> bool:
        """Return whether the run is cancelled or over its limits; its gateway is then shut."""
        if self._job.most_egress is not None:
            self._count_egress(handle)
        self._stopped = self._stopped or self._cancelled or self._watcher.cancelled() or self._meter.over()
        if self._dirty:
            self._dirty = False
            self._watcher.used(self._meter.spent)
        if self._stopped:
            handle.bottle.network.shut(self._stopped)
        return bool(self._stopped)

    def _count_egress(self, handle: BottleHandle) -> None:
        """Count the bytes that have passed the gateway, open connections included."""
        passed, own, whole = handle.bottle.network.sync(), self._meter.limits.egress, self._job.definition.budget.egress
        if passed > self._meter.spent.egress:
            self._meter.spent.egress, self._dirty = passed, True
        if self._job.egress_left is not None and self._job.egress_left < passed <= (own or passed):
            self._cancelled = f"the experiment is over its egress of {format_size(whole or 0)}"

    def _take(self, events: Iterable[AgentEvent]) -> None:
        """Write events to the record; pieces of a text are left out, because the whole text follows."""
        seconds = _since(self._began)
        batch = []
        for event in events:
            if isinstance(event, Usage):
                self._meter.spent.note(event)
                self._dirty = True
            if not (isinstance(event, Text | Thinking) and event.partial) and self._file.tell() < _MOST_EVENTS:
                batch.append({**event.as_dict(), "seconds": seconds})
                self._file.write(json.dumps(batch[-1], default=str) + "\n")
        if batch:
            self._file.flush()
            self._watcher.events(batch)

    def _diff(self, handle: BottleHandle) -> str:
        if not self._changed:
            return ""
        before = provisioning.workspace_of(self._job)
        return workspace.diff(handle.bottle, handle.plan.guest_home, before, self._changed)

    def _take_log(self, handle: BottleHandle) -> None:
        """Move the bottle's log into the record, so that the folder of logs does not grow with every run."""
        from bb_jupyter.core import logs

        paths = logs.logs_of(handle.plan.slug)
        for path in paths[:1]:
            shutil.move(path, self._folder / "output.log")
        for path in paths[:1]:
            shutil.rmtree(path.parent, ignore_errors=True)

    def _note_egress(self) -> None:
        records = [record for slug in self._slugs for record in history(slug)]
        self._egress = _summary(records)
        self._write("egress.jsonl", "".join(json.dumps(asdict(record), default=str) + "\n" for record in records))

    def _write(self, name: str, text: str) -> None:
        if text:
            (self._folder / name).write_text(text, encoding="utf-8", errors="replace")

    @contextlib.contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds[part] = round(self._seconds.get(part, 0.0) + _since(began), 3)


def _summary(records: Sequence[AuditRecord]) -> dict[str, int]:
    requests = [record for record in records if record.is_request]
    return {
        "requests": len(requests),
        "denied": sum(record.verdict == "denied" for record in requests),
        "up": sum(record.up for record in requests),
        "down": sum(record.down for record in requests),
        "approvals": sum(record.event == "proposal" for record in records),
    }


def _facts(handle: BottleHandle) -> dict[str, Any]:
    """Return where a run is executed and with which versions; nothing in it is secret."""
    plan, spec = handle.plan, handle.plan.spec
    return {
        "bottle": plan.slug,
        "backend": spec.backend,
        "root": plan.root,
        "image": getattr(plan, "image_id", ""),
        "limits": [str(limit) for limit in plan.limits],
        "manifest": digest(spec.manifest, spec.agent),
        "worker": f"{platform.node()}:{os.getpid()}",
        "versions": _versions(),
    }


@cache
def _versions() -> dict[str, str]:
    ours = version("bb-jupyter")
    return {"bb_jupyter": ours, "python": platform.python_version(), "kernel": platform.release()}


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
