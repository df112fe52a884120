"""`%%bottle_experiment NAME`: run the experiment of a cell, show a live grid of its runs, then the results."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bb_jupyter.backend.plan import BottlePlan
from bb_jupyter.errors import UsageError, did_you_mean
from bb_jupyter.experiment.definition import Definition
from bb_jupyter.experiment.executors import is_cluster
from bb_jupyter.experiment.experiment import Experiment
from bb_jupyter.experiment.schedule import ExperimentProgress
from bb_jupyter.manifest import about_size, validate_name
from bb_jupyter.manifest.parse import parse
from bb_jupyter.manifest.validation_errors import build
from bb_jupyter.notebook import kernel
from bb_jupyter.notebook.parser import Parser, count
from bb_jupyter.notebook.views.display import publish, say, show, show_plan
from bb_jupyter.notebook.views.experiment_grid import GridWidget, Layout, counts, line_of, note, transcripts
from bb_jupyter.text.table import escaped
from bb_jupyter.text.visible import one_line

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

#: Seconds between two updates of the live grid.
INTERVAL = 0.5
#: Most events of one run that the live grid shows, and seconds after the end of a run for which it keeps them.
_EVENTS, _REMEMBERED = 60, 10.0
#: Most left-out files of a workspace to name.
_NAMED = 5
#: Variables that every notebook has.
_NOT_THE_USERS = frozenset({"In", "Out", "exit", "quit", "open", "get_ipython"})
_EXAMPLES = """\
The cell holds YAML.  Each combination of agents, prompts, bottles and parameters runs `repeats` times.

  %%bottle_experiment parsers --out e
  agents: [claude, codex]
  prompts:
    fix: The tests fail. Fix the parser.
  workspace: parser
  check: pytest -q
  repeats: 5
  limits: {time: 10m, tokens: 200000}

Each run has a new bottle with a copy of the workspace in `work`.  A run passes if the check exits with
status 0.  `check: {command: ..., hidden: FOLDER}` runs the command in a second bottle, in a copy of FOLDER
that the agent cannot see; there $WORK is a copy of the agent's `work`, and $BB_PROMPT the prompt's label.
An interrupt ends the experiment.  The same cell, run again, does the runs that are missing.
"""


def parser() -> Parser:
    """Return the parser of the line."""
    found = Parser(
        "%%bottle_experiment", "NAME [options]", "Run agents on tasks many times, and compare them.", _EXAMPLES
    )
    found.add_argument("experiment", metavar="NAME", help="name of the experiment: a-z, 0-9 and -")
    found.add_argument("--workers", default="", metavar="N", help="number of runs at a time; by default as many as fit")
    found.add_argument("--on", default="", metavar="VAR", help="variable that holds an executor or a dask client")
    found.add_argument("--check", default="", metavar="VAR", help="variable that holds a function, which checks a run")
    found.add_argument("--out", default="", metavar="VAR", help="store the experiment in VAR")
    found.add_argument("--fresh", action="store_true", help="discard an earlier experiment of that name")
    return found


def define_and_run(words: Sequence[str], text: str, names: MutableMapping[str, object]) -> None:
    """Run the experiment of a cell.

    Raises:
        UsageError: an option is wrong, or an earlier experiment of that name has another definition.
        ManifestError: the YAML is wrong; the message has line and key.
        BottleError: the bottles cannot be launched.
        KeyboardInterrupt: the user interrupted it; every run has ended.
    """
    args = parser().read(words, names)
    name = validate_name("experiment", args.experiment)
    document = parse(text, "<cell>", plain=True)
    definition = build(Definition, document, {"name": name}, base=Path.cwd())
    experiment = Experiment.of(definition, _check(args.check, names))
    if args.out:
        if not args.out.isidentifier():
            raise UsageError(f"--out: {args.out!r} is not the name of a variable")
        names[args.out] = experiment
    executor = _variable("--on", args.on, names) if args.on else None
    run_experiment(experiment, executor, workers=count("--workers", args.workers), fresh=args.fresh)


def run_experiment(
    experiment: Experiment, executor: object = None, *, workers: int = 0, fresh: bool = False
) -> Experiment:
    """Run an experiment: `Experiment.run` with a live grid, and the results at the end.

    Args:
        experiment: what to run.
        executor: see `Experiment.run`.
        workers: see `Experiment.run`.
        fresh: see `Experiment.run`.

    Returns:
        The experiment.

    Raises:
        BottleError: see `Experiment.run`.
        KeyboardInterrupt: the user interrupted it; every run has ended.
    """
    if not is_cluster(executor):
        _show_plans(experiment.plans())
    experiment.begin(fresh=fresh)
    _say_workspaces(experiment)
    view: _View = _RichView(experiment) if kernel.is_rich() else _PlainView(experiment)
    with contextlib.closing(view):
        experiment.resume(executor, workers=workers, on_tick=view.tick)
    _show_results(experiment)
    return experiment


class _View(Protocol):
    def tick(self, progress: ExperimentProgress) -> None:
        """Show the progress."""

    def close(self) -> None:
        """Show the end."""


class _PlainView:
    """Print the results at the end: for terminals, nbval and papermill."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._layout: Layout | None = None
        self._states: Mapping[str, str] = {}

    def tick(self, progress: ExperimentProgress) -> None:
        if self._layout is None:
            self._begin()
        self._states = progress.states

    def close(self) -> None:
        if self._layout is not None:
            say(f"{self._experiment.name}: {counts(self._states)}")
            say(self._layout.text(self._states))

    def _begin(self) -> Layout:
        self._layout = Layout.of(self._experiment.runs())
        return self._layout


class _RichView(_PlainView):
    """Show a widget while the runs are going on, and static HTML with their transcripts at the end."""

    def __init__(self, experiment: Experiment, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(experiment)
        self._clock = clock
        self._due = float("-inf")
        self._widget: GridWidget | None = None
        self._display: DisplayHandle | None = None
        self._ended: dict[str, float] = {}
        self._running: set[str] = set()

    def tick(self, progress: ExperimentProgress) -> None:
        super().tick(progress)
        now = self._clock()
        if now < self._due:
            return
        self._due = now + INTERVAL
        widget = self._shown(progress)
        widget.states = "".join(state[0] for state in progress.states.values())
        widget.note = f"{self._experiment.name}: {note(progress)}"
        widget.news = self._news(progress.states, now)

    def close(self) -> None:
        if self._layout is None:
            return
        title = f"{self._experiment.name}: {counts(self._states)}"
        text = f"{title}\n{self._layout.text(self._states)}"
        markup = self._layout.html(self._states, transcripts(self._experiment.runs()))
        self._display = publish(text, f"<div><b>{escaped(title)}</b>{markup}</div>", self._display)
        if self._widget is not None:
            self._widget.close()

    def _shown(self, progress: ExperimentProgress) -> GridWidget:
        if self._widget is None:
            from IPython.display import display

            layout = self._layout or self._begin()
            self._widget = GridWidget(layout, [*progress.states])
            data: dict[str, Any] = {
                "application/vnd.jupyter.widget-view+json": {
                    "version_major": 2,
                    "version_minor": 0,
                    "model_id": self._widget.model_id,
                },
                "text/html": layout.html(progress.states),
                "text/plain": f"{self._experiment.name} is running",
            }
            self._display = display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        return self._widget

    def _news(self, states: Mapping[str, str], now: float) -> dict[str, list[str]]:
        """Return the last lines of the runs that are running, or ended a moment ago: the page may have opened late."""
        running = {run for run, state in states.items() if state == "running"}
        self._ended |= dict.fromkeys(self._running - running, now)
        self._ended = {run: at for run, at in self._ended.items() if now - at < _REMEMBERED}
        self._running = running
        wanted = {*running, *self._ended}
        return {run: [line_of(event) for event in self._experiment[run].latest()][-_EVENTS:] for run in sorted(wanted)}


def _show_plans(plans: Sequence[BottlePlan]) -> None:
    for plan in plans:
        show_plan(plan)


def _say_workspaces(experiment: Experiment) -> None:
    """Print what is copied into the bottles, and what is left out."""
    for entries, size, left_out in dict.fromkeys(experiment.packed().values()):
        names = ", ".join(one_line(name) for name in left_out[:_NAMED])
        more = f" and {len(left_out) - _NAMED} more" if len(left_out) > _NAMED else ""
        noun = "entry" if entries == 1 else "entries"
        say(f"workspace: {entries} {noun}, {about_size(size)}" + (f"; left out: {names}{more}" if names else ""))


def _show_results(experiment: Experiment) -> None:
    if experiment.stopped:
        say(f"{experiment.name}: ended early: {experiment.stopped}; run the cell again to continue")
    if not any(run.counted for run in experiment.runs()):
        return
    comparison = experiment.compare()
    if kernel.is_rich():
        show(str(comparison), comparison._repr_html_())
        _show_figure(experiment)
    else:
        say(comparison.text(times=False))


def _show_figure(experiment: Experiment) -> None:
    from IPython.display import display

    with contextlib.suppress(UsageError):  # without matplotlib there is only the table
        display(experiment.figure())  # type: ignore[no-untyped-call]


def _check(name: str, names: Mapping[str, object]) -> Any:  # noqa: ANN401 - a function of the user's
    if not name:
        return None
    found = _variable("--check", name, names)
    if not callable(found):
        raise UsageError(f"--check: {name} is not a function")
    return found


def _variable(option: str, name: str, names: Mapping[str, object]) -> object:
    if name not in names:
        public = [known for known in names if not known.startswith("_") and known not in _NOT_THE_USERS]
        raise UsageError(f"{option}: there is no variable '{name}'", hint=did_you_mean(name, public))
    return names[name]
