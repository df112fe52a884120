"""The bottles that this process holds: what magics, widgets and Python code call.

One `Session` per process (`current()`).  It resolves options and manifests into a spec, chooses the backend, claims the
name, launches, and lets everything go when the process ends.
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
from pathlib import Path, PurePosixPath
from typing import TypeVar

from bb_jupyter import manifest
from bb_jupyter.agent.provision_planning import load_agent
from bb_jupyter.backend import registry, state
from bb_jupyter.backend.base import OnProgress, no_progress
from bb_jupyter.backend.bottle import ActiveAgent, Bottle
from bb_jupyter.backend.plan import BottlePlan
from bb_jupyter.backend.registry import AnyBackend
from bb_jupyter.backend.spec import BottleSpec, Copy
from bb_jupyter.core import logs
from bb_jupyter.core.bottle_handle import BottleHandle, LaunchOptions
from bb_jupyter.core.branching import all_or_none, branch_names
from bb_jupyter.core.owner_requests import OwnerRequests
from bb_jupyter.errors import BackendUnavailable, BottleError, BottleGone, NameTaken, UsageError, did_you_mean
from bb_jupyter.manifest import Limits
from bb_jupyter.process import deferred_interrupts
from bb_jupyter.process.identity import ProcessIdentity

_T = TypeVar("_T")

#: Limits of a bottle that says nothing of them: enough for an agent at work, and no fork bomb.
DEFAULT_LIMITS = Limits(memory=4 << 30, pids=1024, disk=4 << 30)

#: What to do about a bottle that is gone.
_ANOTHER = "Run `%%bottle {name}` again for a new one."


class Session:
    """The bottles that this process holds.  Thread-safe.

    Attributes:
        default_backend: backend to use where no option says one; empty to choose by what works.
        default_limits: limits of a bottle whose manifest and options say nothing.
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
        """Resolve and check everything about a launch; start nothing.

        Raises:
            UsageError: a name, an option or a value is wrong.
            ManifestError: a manifest is.
            BackendUnavailable: this host cannot run it.
        """
        return self._prepare(name, options or LaunchOptions())[1]

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
            name: what to call it.
            options: how.
            on_plan: gets the plan before anything starts: the preflight.
            on_progress: gets each step of the launch.

        Returns:
            The running bottle; it is stopped when this process ends unless it is kept.

        Raises:
            UsageError: a name, an option or a value is wrong.
            ManifestError: a manifest is.
            NameTaken: a live bottle has the name.
            BackendUnavailable: this host cannot run it.
            BuildFailed: its image cannot be built.
        """
        options = options or LaunchOptions()
        plan = self._prepare(name, options)[1]
        with deferred_interrupts.UninterruptibleExitStack() as undo:
            with deferred_interrupts.defer_sigint():
                undo.callback(self._claim(plan).remove)
            undo.callback(self._stop_held, name)
            on_plan(plan)
            handle = self._start(plan, options, on_progress)
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
            plans = [self._claim_first(plan, possible, claims) for possible in wanted]
            started = all_or_none(lambda plan: self._start(plan, source.options), BottleHandle.stop, plans)
            claims.pop_all()
        for handle in started:
            handle.conversation = source.conversation
        return started

    def launch_from(self, snapshot: BottlePlan, name: str, options: LaunchOptions | None = None) -> BottleHandle:
        """Launch one bottle of what `Bottle.snapshot` yields, while that is held; as often as wanted.

        Raises:
            NameTaken: a live bottle has the name.
            BackendUnavailable: it does not start.
        """
        with deferred_interrupts.UninterruptibleExitStack() as claims:
            handle = self._start(
                self._claim_first(snapshot, (manifest.validate_name("bottle", name),), claims), options
            )
            claims.pop_all()
        return handle

    def _claim_first(self, plan: BottlePlan, names: Iterable[str], claims: ExitStack) -> BottlePlan:
        """Return *plan* under the first of *names* that is free, claimed until *claims* ends."""
        taken: NameTaken | None = None
        for name in names:
            slug = state.new_slug(name)
            renamed = plan.renamed(name, slug, state.state_dir() / slug / "stage")
            try:
                claims.callback(self._claim(renamed).remove)
            except NameTaken as error:
                taken = error
            else:
                return renamed
        raise taken or RuntimeError("no name was given")

    def _claim(self, plan: BottlePlan) -> state.BottleRecord:
        self._remove_dead(plan.spec.name)
        record = _record_of(plan)
        state.claim(record)
        return record

    def _start(
        self, plan: BottlePlan, options: LaunchOptions | None, on_progress: OnProgress = no_progress
    ) -> BottleHandle:
        """Launch a bottle whose name is claimed; its record goes with it, or at once when it does not start."""
        record = _record_of(plan)
        with deferred_interrupts.UninterruptibleExitStack() as stack:
            if not plan.spec.keep:
                stack.callback(record.remove)
            backend = registry.get(plan.spec.backend)
            bottle = stack.enter_context(backend.launch(plan, on_progress=on_progress))
            with deferred_interrupts.defer_sigint():
                return self._hold(bottle, stack.pop_all(), options)

    def get(self, name: str) -> BottleHandle:
        """Return a bottle of this process.

        Raises:
            UsageError: this process holds none of that name.
            BottleGone: it died or was stopped elsewhere; it is let go.
        """
        with self._lock:
            handle = self._handles.get(name)
        if handle is None:
            raise UsageError(f"this kernel has no bottle '{name}'", hint=self._where_is(name))
        if not handle.bottle.alive:
            self._let_go(name)
            again = f"`%bottle attach {name}` starts it again." if handle.plan.spec.keep else _ANOTHER.format(name=name)
            raise BottleGone(f"bottle '{name}' died or was stopped elsewhere", hint=again)
        return handle

    def handles(self) -> list[BottleHandle]:
        """Return the bottles of this process, oldest first."""
        with self._lock:
            return list(self._handles.values())

    def attach(self, name: str) -> BottleHandle:
        """Hold a kept bottle again whose kernel is gone.

        Raises:
            UsageError: there is no such bottle, or it does not outlive its kernel.
            NameTaken: another live kernel holds it.
            BottleGone: it does not run any more.
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
            return self._hold(stack.enter_context(backend.attach(record.slug)), stack)
        except BottleGone:
            backend.stop(record.slug)
            record.remove()
            raise

    def stop(self, name: str) -> None:
        """Remove a bottle of this process, or a kept one that no live kernel holds.

        Raises:
            UsageError: there is none of that name.
            NameTaken: another live kernel holds it.
        """
        if self._stop_held(name):
            return
        record = _record_named(name)
        if record.owner.alive and record.owner != ProcessIdentity.current():
            raise UsageError(f"bottle '{name}' belongs to {record.owner}", hint="Stop it in its own notebook.")
        with deferred_interrupts.defer_sigint():
            self._remove(record.backend, record.slug)

    def _stop_held(self, name: str) -> bool:
        """Remove a bottle of this process; return whether there was one."""
        with deferred_interrupts.defer_sigint():  # from here on nobody else would end it
            handle = self._let_go(name)
            if handle is not None and handle.plan.spec.keep:  # the others are gone when they are let go
                self._remove(handle.plan.spec.backend, handle.plan.slug)
        return handle is not None

    def stop_all(self) -> list[str]:
        """Remove every bottle of this process, several at once.

        Returns:
            The names of those that were stopped.
        """
        names = [handle.name for handle in self.handles()]
        with deferred_interrupts.defer_sigint():
            _in_parallel(self.stop, names)
        return names

    def active(self) -> list[ActiveAgent]:
        """Return the live bottles of this user on this host, of every kernel, oldest first."""
        return registry.enumerate_active()

    def cleanup(self, *, dry_run: bool = False) -> list[str]:
        """Remove what killed kernels left, on every backend that works here; live bottles stay, and kept ones that run.

        Args:
            dry_run: only list it.

        Returns:
            What was (or would be) removed, a line each; for a backend that fails, why.
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
        """Let every bottle go: kept ones run on, the others are removed.  Called when the process ends."""
        with self._lock:
            handle, self._handles = list(self._handles.values()), {}
        for bottle in handle:  # one after the other: an interpreter that ends starts no threads
            with contextlib.suppress(BottleError):
                bottle.release()

    def _prepare(self, name: str, options: LaunchOptions) -> tuple[AnyBackend, BottlePlan]:
        manifest.validate_name("bottle", name)
        backend, reason = self._choose(options)
        slug = state.new_slug(name)
        spec = self._spec(name, options, backend, reason)
        stage_dir = state.state_dir() / slug / "stage"
        return backend, backend.prepare(spec, slug=slug, stage_dir=stage_dir)

    def _choose(self, options: LaunchOptions) -> tuple[AnyBackend, str]:
        if not options.backend and self.default_backend:
            return registry.get(self.default_backend), "%config says so"
        return registry.choose(options.backend)

    def _spec(self, name: str, options: LaunchOptions, backend: AnyBackend, reason: str) -> BottleSpec:
        project = self.project or Path.cwd()
        agent = load_agent(options.agent, project) if options.agent else None
        bottle_name = options.bottle or (agent.bottle if agent else "")
        bottle = manifest.load_bottle(bottle_name) if bottle_name else manifest.BottleManifest(name="")
        limits = self.default_limits.merged(bottle.limits)
        if agent:
            limits = agent.limits_within(limits)
        return BottleSpec(
            name=name,
            backend=backend.name,
            backend_reason=reason,
            manifest=bottle,
            agent=agent,
            image=options.image or bottle.image,
            dockerfile=Path(bottle.dockerfile) if bottle.dockerfile else None,
            env={**bottle.env, **options.env},
            copies=tuple(_copy(text, project) for text in (*bottle.copies, *options.copy)),
            routes=tuple(map(manifest.allowed_route, options.allow)),
            cwd=options.cwd,
            user=options.user,
            limits=limits.merged(options.limits),
            keep=options.keep,
            project=project,
        )

    def _hold(self, bottle: Bottle, stack: ExitStack, options: LaunchOptions | None = None) -> BottleHandle:
        handle = BottleHandle(bottle, stack, self, options)
        with self._lock:
            self._handles[bottle.name] = handle
        self._requests.start()
        return handle

    def _let_go(self, name: str) -> BottleHandle | None:
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
        """Clear the name of a bottle whose kernel was killed, or that died itself."""
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
    """Return the session of this process; its bottles are let go when the process ends."""
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


def _copy(text: str, project: Path) -> Copy:
    source, _, target = text.partition(":")
    if not source:
        raise UsageError(f"not a copy: {text!r}", hint="Write --copy SRC or --copy SRC:DST.")
    path = (project / Path(source).expanduser()).absolute()
    return Copy(path, PurePosixPath(target or path.resolve().name))


def _in_parallel(act: Callable[[_T], object], items: Sequence[_T]) -> None:
    """Do *act* for every item, then raise the first error if there was one."""
    if items:
        with ThreadPoolExecutor(min(len(items), 16)) as pool:
            done = [pool.submit(act, item) for item in items]
        for future in done:
            future.result()
