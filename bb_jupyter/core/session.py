"""The bottles of this process: launched, found by name, stopped.  Magics, widgets and Python code call this.

There is one `Session` per process (`current()`).  It chooses the backend, claims the bottle's name, launches, and
releases every bottle when the process ends.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TypeVar

from bb_jupyter import manifest
from bb_jupyter.backend import registry, state
from bb_jupyter.backend.base import OnProgress, no_progress
from bb_jupyter.backend.bottle import ActiveAgent, Bottle
from bb_jupyter.backend.plan import BottlePlan
from bb_jupyter.core import logs
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.branching import all_or_none, branch_names
from bb_jupyter.core.launch_options import DEFAULT_LIMITS, LaunchOptions
from bb_jupyter.core.owner_requests import OwnerRequests
from bb_jupyter.errors import BackendUnavailable, BottleError, BottleGone, NameTaken, UsageError, did_you_mean
from bb_jupyter.process import deferred_interrupts
from bb_jupyter.process.identity import ProcessIdentity

_T = TypeVar("_T")

#: Hint for a bottle that is gone.
_ANOTHER = "Run `%%bottle {name}` again for a new one."


class Session:
    """The bottles of this process.  Thread-safe.

    Attributes:
        default_backend: backend where no option names one; empty to choose one that works on this host.
        default_limits: limits where neither the manifest nor an option sets any.
        project: directory that relative paths and `./.bot-bottle/agents/` are below; `None` for the current one.
    """

    def __init__(self) -> None:
        self.default_backend = ""
        self.default_limits = DEFAULT_LIMITS
        self.project: Path | None = None
        self._handles: dict[str, BottleHandle] = {}
        self._lock = threading.RLock()
        self._requests = OwnerRequests(self.handles)

    def plan(self, name: str, options: LaunchOptions | None = None) -> BottlePlan:
        """Resolve and check a launch without starting anything.

        Args:
            name: the bottle's name.
            options: how to launch it.

        Raises:
            UsageError: a name, an option or a value is wrong.
            ManifestError: a manifest is missing or wrong.
            BackendUnavailable: this host cannot run the bottle.
        """
        return self._prepare(name, options or LaunchOptions())

    def launch(
        self,
        name: str,
        options: LaunchOptions | None = None,
        *,
        on_plan: Callable[[BottlePlan], object] = lambda plan: None,
        on_progress: OnProgress = no_progress,
    ) -> BottleHandle:
        """Launch a bottle.

        Args:
            name: the bottle's name.
            options: how to launch it.
            on_plan: is called with the plan before anything starts, to show the preflight.
            on_progress: is called with each step of the launch.

        Returns:
            The running bottle.  It is stopped when this process ends, unless it is kept.

        Raises:
            UsageError: a name, an option or a value is wrong.
            ManifestError: a manifest is missing or wrong.
            NameTaken: a live bottle has the name.
            BackendUnavailable: this host cannot run the bottle.
            BuildFailed: the bottle's image cannot be built.
        """
        options = options or LaunchOptions()
        plan = self._prepare(name, options)
        with deferred_interrupts.UninterruptibleExitStack() as undo:
            with deferred_interrupts.defer_sigint():
                record = self._claim(plan)
                undo.callback(record.remove)
            undo.callback(self._stop_own, name)
            on_plan(plan)
            handle = self._start(plan, record, options, on_progress)
            undo.pop_all()
        return handle

    def branch(self, source: BottleHandle, n: int = 1, names: Sequence[str] = ()) -> list[BottleHandle]:
        """Start bottles with the files of *source*; see `BottleHandle.branch`."""
        if n < 1:
            raise UsageError(f"cannot start {n} branches", hint="Write a number from 1 on.")
        for name in names:
            manifest.validate_name("bottle", name)
        wanted: list[Iterable[str]] = [(name,) for name in names] or [branch_names(source.name)] * n
        with source.bottle.snapshot() as plan, deferred_interrupts.UninterruptibleExitStack() as claims:
            claimed = [self._claim_first(plan, possible, claims) for possible in wanted]
            started = all_or_none(lambda claim: self._start(*claim, source.options), BottleHandle.stop, claimed)
            claims.pop_all()
        for handle in started:
            handle.conversation = source.conversation
        return started

    def launch_from(self, snapshot: BottlePlan, name: str, options: LaunchOptions | None = None) -> BottleHandle:
        """Launch a bottle with the files of a snapshot.  A snapshot can be launched any number of times.

        Args:
            snapshot: the plan that `Bottle.snapshot` yields; its context must still be open.
            name: the new bottle's name.
            options: how the new bottle counts as launched.

        Raises:
            NameTaken: a live bottle has the name.
            BackendUnavailable: the bottle does not start.
        """
        names = (manifest.validate_name("bottle", name),)
        with deferred_interrupts.UninterruptibleExitStack() as claims:
            handle = self._start(*self._claim_first(snapshot, names, claims), options)
            claims.pop_all()
        return handle

    def _claim_first(
        self, plan: BottlePlan, names: Iterable[str], claims: ExitStack
    ) -> tuple[BottlePlan, state.BottleRecord]:
        """Return *plan* under the first free name of *names*, and its record; *claims* removes the record."""
        taken: NameTaken | None = None
        for name in names:
            slug = state.new_slug(name)
            renamed = plan.renamed(name, slug, state.state_dir() / slug / "stage")
            try:
                record = self._claim(renamed)
                claims.callback(record.remove)
            except NameTaken as error:
                taken = error
            else:
                return renamed, record
        raise taken or RuntimeError("no name was given")

    def _claim(self, plan: BottlePlan) -> state.BottleRecord:
        self._remove_dead(plan.spec.name)
        record = _record_of(plan)
        state.claim(record)
        return record

    def _start(
        self,
        plan: BottlePlan,
        record: state.BottleRecord,
        options: LaunchOptions | None,
        on_progress: OnProgress = no_progress,
    ) -> BottleHandle:
        """Launch a bottle whose name is claimed.

        The record is removed together with the bottle, or at once when the bottle does not start.
        """
        with deferred_interrupts.UninterruptibleExitStack() as stack:
            if not plan.spec.keep:
                stack.callback(record.remove)
            bottle = stack.enter_context(registry.get(plan.spec.backend).launch(plan, on_progress=on_progress))
            with deferred_interrupts.defer_sigint():
                return self._add(bottle, stack.pop_all(), options)

    def get(self, name: str) -> BottleHandle:
        """Return a bottle of this process.

        Raises:
            UsageError: this process has no bottle of that name.
            BottleGone: the bottle died or was stopped elsewhere; the session forgets it.
        """
        with self._lock:
            handle = self._handles.get(name)
        if handle is None:
            raise UsageError(f"this kernel has no bottle '{name}'", hint=self._where_is(name))
        if not handle.bottle.alive:
            self._release(name)
            again = f"`%bottle attach {name}` starts it again." if handle.plan.spec.keep else _ANOTHER.format(name=name)
            raise BottleGone(f"bottle '{name}' died or was stopped elsewhere", hint=again)
        return handle

    def handles(self) -> list[BottleHandle]:
        """Return the bottles of this process, oldest first."""
        with self._lock:
            return list(self._handles.values())

    def attach(self, name: str) -> BottleHandle:
        """Take over a kept bottle whose kernel has ended.

        Raises:
            UsageError: there is no such bottle, or it was not kept.
            NameTaken: the bottle belongs to another live kernel.
            BottleGone: the bottle no longer runs; its record is removed.
        """
        with self._lock:
            if name in self._handles:
                return self.get(name)
        record = _record_named(name)
        if not record.keep:
            raise UsageError(
                f"bottle '{name}' ends with its kernel ({record.owner})",
                hint="Start bottles with --keep to attach later.",
            )
        backend = registry.get(record.backend)
        state.take_over(record, ProcessIdentity.current())
        stack = deferred_interrupts.UninterruptibleExitStack()
        try:
            return self._add(stack.enter_context(backend.attach(record.slug)), stack)
        except BottleGone:
            backend.stop(record.slug)
            record.remove()
            raise

    def stop(self, name: str) -> None:
        """Remove a bottle of this process, or a kept one whose kernel has ended.

        Raises:
            UsageError: there is no bottle of that name, or it belongs to another live kernel.
        """
        if self._stop_own(name):
            return
        record = _record_named(name)
        if record.owner.alive and record.owner != ProcessIdentity.current():
            raise UsageError(f"bottle '{name}' belongs to {record.owner}", hint="Stop it in its own notebook.")
        with deferred_interrupts.defer_sigint():
            self._remove(record.backend, record.slug)

    def _stop_own(self, name: str) -> bool:
        """Remove a bottle of this process; return whether there was one."""
        with deferred_interrupts.defer_sigint():  # once forgotten, nothing else would stop it
            handle = self._release(name)
            if handle is not None and handle.plan.spec.keep:  # releasing a bottle that is not kept removes it
                self._remove(handle.plan.spec.backend, handle.plan.slug)
        return handle is not None

    def stop_all(self) -> list[str]:
        """Remove every bottle of this process, several at the same time.

        Returns:
            The names of the stopped bottles.
        """
        names = [handle.name for handle in self.handles()]
        with deferred_interrupts.defer_sigint():
            _in_parallel(self.stop, names)
        return names

    def active(self) -> list[ActiveAgent]:
        """Return the live bottles of this user on this host, of every kernel, oldest first."""
        return registry.enumerate_active()

    def cleanup(self, *, dry_run: bool = False) -> list[str]:
        """Remove what killed kernels left, on every available backend.  Live bottles and running kept ones stay.

        Args:
            dry_run: only list it.

        Returns:
            One line for each thing that was (or would be) removed, and for each backend that failed.
        """
        found: list[str] = []
        for backend in registry.available():
            try:
                plan = backend.prepare_cleanup()
                found += map(str, plan.orphans)
                if not dry_run:
                    backend.cleanup(plan)
            except BackendUnavailable as error:
                found.append(f"nothing on {backend.name}: {error.message}")
        if not dry_run:
            logs.prune({record.slug for record in state.records()})
        return found

    def close(self) -> None:
        """Release every bottle: kept ones run on, the others are removed.  Called when the process ends."""
        with self._lock:
            handles, self._handles = list(self._handles.values()), {}
        self._requests.close()
        for handle in handles:  # one after the other: an exiting interpreter starts no threads
            with contextlib.suppress(BottleError):
                handle.release()

    def _prepare(self, name: str, options: LaunchOptions) -> BottlePlan:
        manifest.validate_name("bottle", name)
        if not options.backend and self.default_backend:
            backend, reason = registry.get(self.default_backend), "%config says so"
        else:
            backend, reason = registry.choose(options.backend)
        spec = options.resolve(
            name,
            backend=backend.name,
            reason=reason,
            project=self.project or Path.cwd(),
            limits=self.default_limits,
        )
        slug = state.new_slug(name)
        plan: BottlePlan = backend.prepare(spec, slug=slug, stage_dir=state.state_dir() / slug / "stage")
        return plan

    def _add(self, bottle: Bottle, stack: ExitStack, options: LaunchOptions | None = None) -> BottleHandle:
        handle = BottleHandle(bottle, stack, self, options)
        with self._lock:
            self._handles[bottle.name] = handle
        self._requests.start()
        return handle

    def _release(self, name: str) -> BottleHandle | None:
        with deferred_interrupts.defer_sigint():
            with self._lock:
                handle = self._handles.pop(name, None)
            if handle is not None:
                handle.release()
        return handle

    def _remove(self, backend: str, slug: str) -> None:
        registry.get(backend).stop(slug)
        for record in state.records():
            if record.slug == slug:
                record.remove()

    def _remove_dead(self, name: str) -> None:
        """Free the name of a bottle that is dead, or whose kernel was killed."""
        for record in state.records():
            if record.name != name:
                continue
            if not record.owner.alive and not (record.keep and self._runs(record.slug)):
                self._remove(record.backend, record.slug)

    def _runs(self, slug: str) -> bool:
        return any(agent.slug == slug for agent in self.active())

    def _where_is(self, name: str) -> str:
        for record in state.records():
            if record.name == name:
                return f"`%bottle attach {name}` takes it over." if record.keep else f"It belongs to {record.owner}."
        return did_you_mean(name, [handle.name for handle in self.handles()])


@cache
def current() -> Session:
    """Return the session of this process; its bottles are released when the process ends."""
    session = Session()
    pid = os.getpid()
    # A forked child inherits the hook, not the bottles.
    atexit.register(lambda: session.close() if os.getpid() == pid else None)
    return session


def _record_of(plan: BottlePlan) -> state.BottleRecord:
    spec = plan.spec
    return state.BottleRecord(
        slug=plan.slug,
        name=spec.name,
        backend=spec.backend,
        owner=ProcessIdentity.current(),
        created=time.time(),
        keep=spec.keep,
        agent=spec.agent.name if spec.agent else "",
        bottle=spec.manifest.name,
    )


def _record_named(name: str) -> state.BottleRecord:
    records = state.records()
    for record in records:
        if record.name == name:
            return record
    raise UsageError(f"no bottle is called '{name}'", hint=did_you_mean(name, [record.name for record in records]))


def _in_parallel(act: Callable[[_T], object], items: Sequence[_T]) -> None:
    """Call *act* with every item, each on a thread; then raise the first error if there was one."""
    if items:
        with ThreadPoolExecutor(min(len(items), 16)) as pool:
            done = [pool.submit(act, item) for item in items]
        for future in done:
            future.result()
