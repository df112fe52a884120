"""The `Experiment` that users create, run, compare and export."""

from __future__ import annotations

import itertools
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bb_jupyter.core.session import current
from bb_jupyter.errors import UsageError, did_you_mean
from bb_jupyter.experiment import record
from bb_jupyter.experiment.budget import Meter, Spent
from bb_jupyter.experiment.compare import Comparison, compare, import_optional
from bb_jupyter.experiment.definition import Definition, RunCheck, RunSpec, expand
from bb_jupyter.experiment.executors import ExecutorAdapter, LocalAdapter, capacity, is_cluster
from bb_jupyter.experiment.job import Job, PythonCheck, source_of
from bb_jupyter.experiment.provisioning import digests, launch_options
from bb_jupyter.experiment.record import RunDiff, RunRecord
from bb_jupyter.experiment.schedule import OnTick, Scheduler
from bb_jupyter.experiment.store import Store, new_owner
from bb_jupyter.experiment.workspace import pack_tree, pack_workspace
from bb_jupyter.home import bot_bottle_home
from bb_jupyter.manifest import validate_name
from bb_jupyter.manifest.bottle_loading import definitions

if TYPE_CHECKING:
    import pandas

    from bb_jupyter.backend.plan import BottlePlan
    from bb_jupyter.experiment.figure import Chart

#: Fields of the definition that may change between two calls of the same experiment.
_MAY_CHANGE = {"budget"}


class Experiment:
    """Many runs of agents on tasks, each in a fresh bottle, recorded and compared.

        experiment = Experiment(
            "parsers", agents=["claude", "codex"], prompts={"fix": "The tests fail. Mend the parser."},
            workspace="parser", check="pytest -q", repeats=5,
        )
        experiment.run()
        experiment.compare()

    The records lie in `~/.bot-bottle/experiments/NAME`.  An experiment with the name and content of an earlier one
    continues that one: `run` executes the missing runs.

    Args:
        name: 1 to 40 of `a-z`, `0-9` and `-`.
        check: shell command, `RunCheck`, or a function that takes a `Finished` and returns whether the run passed.
        folder: folder of all experiments; `None` for the default.
        **definition: the other fields of `Definition`.

    Raises:
        UsageError: a value of the definition is wrong.
    """

    def __init__(
        self,
        name: str,
        *,
        check: str | RunCheck | Mapping[str, str] | PythonCheck | None = None,
        folder: str | Path | None = None,
        **definition: Any,  # noqa: ANN401 - checked by the model
    ) -> None:
        function = check if callable(check) else None
        given = {"name": validate_name("experiment", name), "check": None if function else check, **definition}
        self._set_up(_checked(given), function, folder)

    @classmethod
    def of(cls, definition: Definition, check: PythonCheck | None = None, folder: str | Path | None = None) -> Self:
        """Make an experiment from a checked definition."""
        made = cls.__new__(cls)
        made._set_up(definition, check, folder)
        return made

    def _set_up(self, definition: Definition, check: PythonCheck | None, folder: str | Path | None) -> None:
        self.definition = definition
        self.stopped = ""
        self._check = check
        self._store = Store(experiments_dir(folder) / definition.name)

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.definition.name

    @property
    def folder(self) -> Path:
        """Folder of its records."""
        return self._store.folder

    def run(
        self, executor: object = None, *, workers: int = 0, on_tick: OnTick | None = None, fresh: bool = False
    ) -> Self:
        """Execute all runs without a result.

        A run that failed its task has a result; an interrupted run, or one that its host failed, has none.

        Args:
            executor: `None` for threads of this process, any `concurrent.futures.Executor` whose workers run on this
                host, or a `distributed.Client` (or its `get_executor()`).
            workers: how many runs at a time; 0 for as many as fit.
            on_tick: is called with the progress a few times a second.
            fresh: begin anew; see `begin`.

        Returns:
            This experiment; `stopped` is the reason if it ended early because its budget was used up.

        Raises:
            UsageError: an earlier experiment of this name differs, or an input is missing or wrong.
            BottleError: this host cannot run the bottles, or several runs in a row were lost.
            KeyboardInterrupt: the user interrupted; every run has ended, and `resume` continues.
        """
        if not is_cluster(executor) and not self._store.complete:
            self.plans()  # a wrong name must fail before the experiment is stored
        self.begin(fresh=fresh)
        return self._execute(executor, workers, on_tick, self._missing)

    def resume(self, executor: object = None, *, workers: int = 0, on_tick: OnTick | None = None) -> Self:
        """Execute the missing runs of an experiment that was begun; see `run`."""
        facts = self._store.facts()
        if facts["check"] and self._check is None:
            raise UsageError(f"experiment '{self.name}' has a check in Python", hint="load(NAME, check=FUNCTION)")
        return self._execute(executor, workers, on_tick, self._missing)

    def rerun(self, run: str | RunRecord) -> RunRecord:
        """Execute a run once more with the same inputs and seed; the new run does not count in comparisons.

        Raises:
            UsageError: there is no such run.
            BottleError: the new run gave no result.
        """
        old = self[run if isinstance(run, str) else run.id]
        number = sum(other.rerun_of == old.id for other in self.runs(reruns=True)) + 1
        given = {name: getattr(old, name) for name in ("agent", "prompt", "bottle", "repeat", "seed", "parameters")}
        spec = RunSpec(f"{old.id}r{number}", -1, **given)

        def one(owner: str) -> Iterator[RunSpec]:
            self._store.add(spec, rerun_of=old.id, owner=owner)
            yield spec

        self._execute(None, 1, None, one)
        return self[spec.id]

    def plans(self) -> list[BottlePlan]:
        """Resolve and check the launch of a bottle of each kind on this host; start nothing.

        Raises:
            UsageError: a name or a value is wrong.
            ManifestError: a manifest is missing or wrong.
            BackendUnavailable: this host cannot run the bottles.
        """
        kinds = dict.fromkeys((self.definition.agents[s.agent].agent, s.bottle) for s in expand(self.definition))
        return [
            current().plan(f"{self.name[:34].rstrip('-')}-0001", launch_options(self.definition, *kind))
            for kind in kinds
        ]

    def packed(self) -> dict[str, tuple[int, int, tuple[str, ...]]]:
        """Return for each prompt's workspace: number of entries, bytes, and paths that were left out."""
        packed = self._store.facts()["packed"]
        return {task: (entries, size, tuple(left_out)) for task, (entries, size, left_out) in packed.items()}

    def runs(self, *, reruns: bool = False) -> list[RunRecord]:
        """Return the records of all runs, by id.

        Args:
            reruns: include those of `rerun`.

        Raises:
            UsageError: the experiment was not begun.
        """
        return [self._record(row) for row in self._rows() if reruns or not row["rerun_of"]]

    def __getitem__(self, run: str) -> RunRecord:
        rows = self._rows(run)
        if not rows:
            raise UsageError(f"experiment '{self.name}' has no run '{run}'")
        return self._record(rows[0])

    def compare(self, by: str = "agent", *, confidence: float = 0.95) -> Comparison:
        """Compare groups of runs; see `compare.compare`."""
        return compare(self._results(), by, confidence=confidence)

    def diff(self, run_a: str, run_b: str) -> RunDiff:
        """Return how two runs differ: their inputs, results, and changes to the workspace."""
        return record.diff(self[run_a], self[run_b])

    def to_dataframe(self) -> pandas.DataFrame:
        """Return a table with a row for each run.

        Raises:
            UsageError: pandas is not installed.
        """
        frame = import_optional("pandas", "a table").DataFrame([run.row() for run in self.runs()])
        return frame.set_index("run") if len(frame) else frame

    def figure(self, by: str = "agent", *, confidence: float = 0.95) -> Chart:
        """Draw pass rates with their intervals, and durations.

        Raises:
            UsageError: matplotlib is not installed.
        """
        import_optional("matplotlib", "a figure")
        from bb_jupyter.experiment.figure import draw

        return draw(self._results(), by, confidence=confidence)

    def export(self, target: str | Path) -> Path:
        """Write everything to a new folder that opens in a browser, without this package; see `export.export`.

        Returns:
            The path of the folder's `index.html`.

        Raises:
            UsageError: *target* exists and is not an empty folder.
        """
        from bb_jupyter.experiment.export import export

        return export(self.definition, self.runs(), Path(target).expanduser())

    def log_to_mlflow(self, *, tracking_uri: str | None = None, name: str = "") -> int:
        """Log every result to MLflow; see `export.log_to_mlflow`."""
        from bb_jupyter.experiment.export import log_to_mlflow

        return log_to_mlflow(self.name, self.runs(), tracking_uri=tracking_uri, name=name)

    def __repr__(self) -> str:
        states = list(self._store.states().values()) if self._store.exists else []
        counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
        return f"<experiment {self.name}: {counts or 'not begun'}>"

    def _results(self) -> list[RunRecord]:
        return [self._record(row) for row in self._rows(results=True) if not row["rerun_of"]]

    def _rows(self, *ids: str, results: bool = False) -> list[dict[str, Any]]:
        if not self._store.exists:
            raise UsageError(f"experiment '{self.name}' was not begun", hint="run() begins it.")
        return self._store.rows(*ids, results=results)

    def _record(self, row: Mapping[str, Any]) -> RunRecord:
        return RunRecord.of(row, self._store.run_folder(row["id"]))

    def begin(self, *, fresh: bool = False) -> None:
        """Pack the inputs and write the index, so that `resume` can execute the runs.  Idempotent.

        Args:
            fresh: begin anew; an earlier experiment of this name is renamed to its name and the time.  An earlier one
                that differs and has no result is renamed in any case.

        Raises:
            UsageError: an earlier experiment of this name differs and has results, or an input is missing.
        """
        if fresh and self._store.exists:
            self._set_aside()
        inputs, tasks = self._store.inputs, self.definition.prompts
        packed = {task: pack_workspace(w, inputs) for task in tasks if (w := self.definition.workspace_of(task))}
        checks = {task: self.definition.check_of(task) for task in tasks}
        tests = {task: pack_tree(Path(c.hidden), inputs).digest for task, c in checks.items() if c and c.hidden}
        workspaces = {task: each.digest for task, each in packed.items()}
        source = source_of(self._check)
        manifests = digests(self.definition, current().project or Path.cwd())
        fingerprint = self.definition.model_copy(update=dict.fromkeys(_MAY_CHANGE)).fingerprint(
            workspaces=workspaces, tests=tests, source=source, manifests=manifests
        )
        facts = {
            "definition": self.definition.model_dump(mode="json"),
            "fingerprint": fingerprint,
            "workspaces": workspaces,
            "packed": {task: [each.entries, each.size, each.left_out] for task, each in packed.items()},
            "tests": tests,
            "check": source,
            "created": time.time(),
        }
        self._store.create(facts, expand(self.definition))
        if self._store.facts()["fingerprint"] != fingerprint:
            if self._store.fruitless and not fresh:
                return self.begin(fresh=True)
            raise UsageError(
                f"experiment '{self.name}' was begun with another definition, manifest, workspace or check",
                hint="Give it another name, or begin anew: --fresh, or fresh=True.",
            )

    def _set_aside(self) -> None:
        stamp = f"{self.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        names = itertools.chain([stamp], (f"{stamp}-{number}" for number in itertools.count(2)))
        self.folder.rename(next(path for name in names if not (path := self.folder.with_name(name)).exists()))

    def _missing(self, owner: str) -> Iterator[RunSpec]:
        return iter(lambda: self._store.claim(owner), None)

    def _execute(
        self,
        executor: object,
        workers: int,
        on_tick: OnTick | None,
        specs: Callable[[str], Iterator[RunSpec]],
    ) -> Self:
        token = f"x{uuid.uuid4().hex}"
        owner, facts, bottles = new_owner(token), self._store.facts(), definitions()
        if self._store.reset():
            current().cleanup()  # removes the bottles of a dead kernel

        def job_of(spec: RunSpec) -> Job:
            inputs, workspaces, tests = self._store.inputs, facts["workspaces"], facts["tests"]
            return Job(token, self.definition, spec, inputs, workspaces, tests, self._check, bottles)

        adapter = _adapter(executor, self._store, token, self.definition, workers)
        scheduler = Scheduler(self._store, adapter, job_of, Meter(self.definition.budget, self._spent()))
        if on_tick is not None:
            scheduler = replace(scheduler, on_tick=on_tick)
        try:
            with self._store.kept_open():
                scheduler.run(specs(owner))
        finally:
            self.stopped = scheduler.stopping
            self._store.free(owner)
        return self

    def _spent(self) -> Spent:
        return sum(map(Spent.of, self._store.outcomes()), Spent())


def load(name: str, *, check: PythonCheck | None = None, folder: str | Path | None = None) -> Experiment:
    """Open an experiment that this kernel or another one has begun.

    Args:
        name: the experiment's name.
        check: the experiment's check in Python, which is not stored; `resume` needs it.
        folder: folder of all experiments; `None` for the default.

    Raises:
        UsageError: there is no such experiment.
    """
    store = Store(experiments_dir(folder) / name)
    if not store.exists and (others := [path.parent.name for path in store.folder.parent.glob("*/index.sqlite")]):
        raise UsageError(f"no experiment is called '{name}'", hint=did_you_mean(name, others))
    facts = store.facts()
    return Experiment.of(_checked(facts["definition"]), check, folder)


def _adapter(executor: object, store: Store, token: str, definition: Definition, workers: int) -> ExecutorAdapter:
    """Return the adapter of an executor.

    Args:
        executor: `None` for threads of this process, a `concurrent.futures.Executor` of this host, or a dask client.
        store: the experiment's store.
        token: identifies this call.
        definition: the experiment; decides how many bottles this host can run.
        workers: how many runs at a time; 0 for as many as fit.

    Raises:
        UsageError: *executor* is none of these, or *workers* is negative.
    """
    if workers < 0:
        raise UsageError(f"cannot execute {workers} runs at a time", hint="Write 0 for as many as fit.")
    if is_cluster(executor):
        from bb_jupyter.experiment.cluster import ClusterAdapter

        return ClusterAdapter(executor, store, token, workers)
    if executor is None:
        return LocalAdapter(store, token, None, workers or capacity(definition))
    if not isinstance(executor, Executor):
        raise UsageError(f"not an executor: {type(executor).__name__}", hint="Any concurrent.futures.Executor is one.")
    return LocalAdapter(store, token, executor, workers or getattr(executor, "_max_workers", 0) or os.cpu_count() or 1)


def experiments_dir(folder: str | Path | None = None) -> Path:
    """Return the folder of all experiments."""
    return Path(folder).expanduser().absolute() if folder else bot_bottle_home() / "experiments"


def _checked(given: Mapping[str, Any]) -> Definition:
    from pydantic import ValidationError

    from bb_jupyter.manifest.parse import Document
    from bb_jupyter.manifest.validation_errors import explained

    try:
        return Definition.model_validate(dict(given))
    except ValidationError as error:
        found = explained(Definition, Document(""), error)
        raise UsageError(found.message, hint=found.hint) from None
