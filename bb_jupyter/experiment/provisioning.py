"""How runs get their bottle: a fresh one each, with the workspace in it.

Where there is common work to do (`prepare`), the first run that needs it does it in a bottle of its own, whose files
are held; each run then starts as a branch of that, on a backend that can.  Workspaces are unpacked once for each
process.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

# Here, before there are threads: several that import models of pydantic at the same time may see half of one.
import bb_jupyter.manifest.agents
import bb_jupyter.manifest.bottles  # noqa: F401
from bb_jupyter.backend.plan import BottlePlan
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import current
from bb_jupyter.errors import BottleError, UsageError
from bb_jupyter.experiment.definition import WORK, Definition
from bb_jupyter.experiment.job import Job
from bb_jupyter.experiment.workspace import unpacked

_T = TypeVar("_T")
#: How long the common work may take, in seconds.
PREPARE_TIME = 3600.0


def launch_options(definition: Definition, agent: str, bottle: str, image: str = "") -> LaunchOptions:
    """Return how a bottle of an experiment is launched."""
    return LaunchOptions(
        agent=agent,
        bottle=bottle,
        backend=definition.backend,
        image=image or definition.image,
        limits=definition.resources,
    )


def options_of(job: Job) -> LaunchOptions:
    """Return how the bottle of a run is launched."""
    return launch_options(job.definition, job.variant.agent, job.spec.bottle)


def start(job: Job) -> BottleHandle:
    """Launch the bottle of a run, with its workspace in it.

    Raises:
        BottleError: it cannot be launched or prepared.
    """
    session, shared, name = current(), _shared_of(job.token), job.bottle_name(secrets.token_hex(3))
    if job.definition.prepare:
        plan = shared.once(("prepared", job.variant.agent, job.spec.bottle, job.workspace), lambda: _prepared(job))
        return session.launch_from(plan, name, options_of(job))
    handle = session.launch(name, options_of(job))
    with _stopped_on_error(handle):
        _fill(handle, workspace_of(job))
    return handle


def workspace_of(job: Job) -> Path | None:
    """Return the workspace of a run, unpacked on this host, for reading; `None` when it has none."""
    return tree(job, job.workspace) if job.workspace else None


def tree(job: Job, digest: str) -> Path:
    """Return a packed input, unpacked on this host, for reading."""
    shared = _shared_of(job.token)
    return shared.once(("tree", digest), lambda: unpacked(job.inputs, digest, shared.folder / digest))


def keep(token: str, files: Mapping[str, bytes]) -> Path:
    """Write packed inputs that came from elsewhere to this host; return their folder, which `release` removes."""
    shared = _shared_of(token)

    def write() -> Path:
        folder = shared.folder / "inputs"
        folder.mkdir()
        for digest, data in files.items():
            (folder / f"{digest}.tar").write_bytes(data)
        return folder

    return shared.once("inputs", write)


def release(token: str) -> None:
    """Let go of all that was prepared in this process for a call of `run` or `resume`.  Idempotent."""
    with _lock:
        shared = _all.pop(token, None)
    if shared is not None:
        shared.stack.close()


def _prepared(job: Job) -> BottlePlan:
    """Do the common work, and hold the files of the bottle in which it was done."""
    shared, name = _shared_of(job.token), job.bottle_name(f"p{secrets.token_hex(2)}")
    with ExitStack() as stack:
        handle = stack.enter_context(current().launch(name, options_of(job)))
        _fill(handle, workspace_of(job))
        done = handle.exec(["sh", "-ec", job.definition.prepare], cwd=WORK, timeout=PREPARE_TIME).wait()
        if done.returncode:
            last = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()[-1:]
            raise UsageError(f"prepare: {last[0] if last else 'it failed'} (exit status {done.returncode})")
        plan = stack.enter_context(handle.bottle.snapshot())
        if (
            handle.plan.spec.backend == "docker"
        ):  # its image goes with the last bottle that has it: one stays till the end
            stack.enter_context(current().launch_from(plan, job.bottle_name(f"k{secrets.token_hex(2)}")))
        shared.stack.push(stack.pop_all())
        return plan


def _fill(handle: BottleHandle, workspace: Path | None) -> None:
    if workspace is not None:
        handle.cp_in(workspace, WORK)
    elif (done := handle.exec(["mkdir", "-p", WORK]).wait()).returncode:
        raise UsageError(f"the bottle has no room for its workspace: {done.stderr.decode('utf-8', 'replace').strip()}")


@contextlib.contextmanager
def _stopped_on_error(handle: BottleHandle) -> Iterator[None]:
    try:
        yield
    except BaseException:
        handle.stop()
        raise


@dataclass
class _Shared:
    """What the runs of one call share in this process; each thing is made once, by the run that needs it first."""

    folder: Path
    stack: ExitStack = field(default_factory=ExitStack)
    made: dict[object, object] = field(default_factory=dict)
    locks: dict[object, threading.Lock] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def once(self, key: object, make: Callable[[], _T]) -> _T:
        """Return what *make* returns, made once; an error is remembered, and everybody gets it."""
        with self.lock:
            own = self.locks.setdefault(key, threading.Lock())
        with own:
            if key not in self.made:
                try:
                    self.made[key] = make()
                except BottleError as error:
                    self.made[key] = error
            found = self.made[key]
        if isinstance(found, BottleError):
            raise found
        return found  # type: ignore[return-value]


_lock = threading.Lock()
_all: dict[str, _Shared] = {}


def _shared_of(token: str) -> _Shared:
    with _lock:
        if token not in _all:
            folder = Path(tempfile.mkdtemp(prefix="bb-experiment-"))
            _all[token] = _Shared(folder)
            _all[token].stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return _all[token]
