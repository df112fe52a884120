"""The bottles of runs: a fresh one for each, with the workspace in it; and the manifests that they are launched from.

An experiment with common work (`prepare`) does it once for each kind of bottle: the first run that needs it works in a
bottle of its own and takes a snapshot of the files.  Every run then starts as a branch of that snapshot.  Workspaces
are unpacked once in each process.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

# Imported before threads start: threads that import pydantic models at the same time may see unfinished ones.
import bb_jupyter.manifest.agent_loading
import bb_jupyter.manifest.bottle_loading  # noqa: F401
from bb_jupyter.backend.plan import BottlePlan
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import current
from bb_jupyter.errors import BottleError, UsageError
from bb_jupyter.experiment.definition import WORK, Definition
from bb_jupyter.experiment.job import Job
from bb_jupyter.experiment.workspace import unpacked
from bb_jupyter.text.visible import last_line

if TYPE_CHECKING:
    from pydantic import BaseModel

_T = TypeVar("_T")
_Manifest = TypeVar("_Manifest", bound="BaseModel")
#: Seconds that the common work may take.
PREPARE_TIME = 3600.0
#: Fields of a manifest that change nothing in the bottle.
_DESCRIPTIVE = {"origin", "path", "description"}


def launch_options(definition: Definition, agent: str, bottle: str, image: str = "") -> LaunchOptions:
    """Return the launch options of a bottle of an experiment."""
    return LaunchOptions(
        agent=agent,
        bottle=bottle,
        backend=definition.backend,
        image=image or definition.image,
        limits=definition.resources,
    )


def options_of(job: Job) -> LaunchOptions:
    """Return the launch options of a run's bottle."""
    return launch_options(job.definition, job.variant.agent, job.spec.bottle)


def start(job: Job) -> BottleHandle:
    """Launch the bottle of a run, with its workspace in it.

    Raises:
        BottleError: the bottle cannot be launched or prepared.
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
    """Return the folder with a run's unpacked workspace, to be read only; `None` when the run has none."""
    return tree(job, job.workspace) if job.workspace else None


def tree(job: Job, digest: str) -> Path:
    """Return the folder with an unpacked input, to be read only."""
    shared = _shared_of(job.token)
    return shared.once(("tree", digest), lambda: unpacked(job.inputs, digest, shared.folder / digest))


def keep(token: str, files: Mapping[str, bytes]) -> Path:
    """Write packed inputs that another host sent; return their folder, which `release` removes."""
    shared = _shared_of(token)

    def write() -> Path:
        folder = shared.folder / "inputs"
        folder.mkdir()
        for digest, data in files.items():
            (folder / f"{digest}.tar").write_bytes(data)
        return folder

    return shared.once("inputs", write)


def release(token: str) -> None:
    """Remove everything that this process prepared for a call of `run` or `resume`.  Idempotent."""
    with _lock:
        shared = _all.pop(token, None)
    if shared is not None:
        shared.stack.close()


def _prepared(job: Job) -> BottlePlan:
    """Do the common work in a bottle, and return the snapshot of its files; `release` ends the snapshot."""
    shared, name = _shared_of(job.token), job.bottle_name(f"p{secrets.token_hex(2)}")
    with ExitStack() as stack:
        handle = stack.enter_context(current().launch(name, options_of(job)))
        _fill(handle, workspace_of(job))
        done = handle.exec(["sh", "-ec", job.definition.prepare], cwd=WORK, timeout=PREPARE_TIME).wait()
        if done.returncode:
            reason = last_line(done.stderr or done.stdout, "it failed")
            raise UsageError(f"prepare: {reason} (exit status {done.returncode})")
        plan = stack.enter_context(handle.bottle.snapshot())
        if handle.bottle.snapshot_needs_bottle:
            stack.enter_context(current().launch_from(plan, job.bottle_name(f"k{secrets.token_hex(2)}")))
        shared.stack.push(stack.pop_all())
        return plan


def _fill(handle: BottleHandle, workspace: Path | None) -> None:
    if workspace is not None:
        handle.cp_in(workspace, WORK)
    elif (done := handle.exec(["mkdir", "-p", WORK]).wait()).returncode:
        reason = done.stderr.decode("utf-8", "replace").strip()
        raise UsageError(f"cannot make the folder of the workspace in the bottle: {reason}")


@contextlib.contextmanager
def _stopped_on_error(handle: BottleHandle) -> Iterator[None]:
    try:
        yield
    except BaseException:
        handle.stop()
        raise


@dataclass
class _Shared:
    """What the runs of one call share in this process; the first run that needs a thing makes it."""

    folder: Path
    stack: ExitStack = field(default_factory=ExitStack)
    made: dict[object, object] = field(default_factory=dict)
    locks: dict[object, threading.Lock] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def once(self, key: object, make: Callable[[], _T]) -> _T:
        """Return the result of *make*, called once for each key; its `BottleError` is raised at every call."""
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


def digest(*manifests: BaseModel | None) -> str:
    """Return a hash of what manifests declare.  A manifest names credentials and never contains one."""
    values = [each.model_dump(mode="json", exclude=_DESCRIPTIVE) if each else None for each in manifests]
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def digests(definition: Definition, project: Path) -> dict[str, str]:
    """Return a hash of each manifest that an experiment names, so that a changed manifest is noticed.

    A manifest that only the workers' hosts have is left out.

    Args:
        definition: the experiment.
        project: directory with the agents of a repository.
    """
    from bb_jupyter.agent.planner import load_agent
    from bb_jupyter.manifest import load_bottle

    agents = _found((variant.agent for variant in definition.agents.values()), lambda name: load_agent(name, project))
    checks = (definition.check_of(task) for task in definition.prompts)
    named = [*definition.bottles, *(check.bottle for check in checks if check)]
    bottles = _found((*named, *(agent.bottle or "" for agent in agents.values())), load_bottle)
    return {
        **{f"agent {name}": digest(agent) for name, agent in agents.items()},
        **{f"bottle {name}": digest(bottle) for name, bottle in bottles.items()},
    }


def _found(names: Iterable[str], load: Callable[[str], _Manifest]) -> dict[str, _Manifest]:
    found = {}
    for name in {*names} - {""}:
        with contextlib.suppress(BottleError):
            found[name] = load(name)
    return found
