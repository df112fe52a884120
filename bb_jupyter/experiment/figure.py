"""The figure of an experiment: pass rates with intervals, and durations.  Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bb_jupyter.experiment.compare import compare, value_of
from bb_jupyter.experiment.record import STATE_COLOURS, RunRecord

_WIDTH, _ROW, _FRAME = 9.0, 0.45, 1.3


class Chart(Figure):
    """A figure without a window and without global state, which a notebook shows as the value of a cell."""

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", dpi=110)
        return file.getvalue()


def draw(runs: Sequence[RunRecord], by: str = "agent", *, confidence: float = 0.95) -> Chart:
    """Draw the groups of runs along one axis; see `compare`.

    Raises:
        UsageError: there is no such axis.
    """
    found = compare(runs, by, confidence=confidence)
    figure = Chart(figsize=(_WIDTH, _FRAME + _ROW * max(1, len(found.groups))), layout="constrained")
    FigureCanvasAgg(figure)
    rates, times = figure.subplots(1, 2, sharey=True)
    for row, group in enumerate(found.groups):
        errors = [[max(0.0, group.rate - group.low)], [max(0.0, group.high - group.rate)]]
        rates.errorbar(group.rate, row, xerr=errors, fmt="o", color=STATE_COLOURS["passed"], capsize=4)
    rates.set(xlim=(-0.03, 1.03), xlabel=f"share that passed ({confidence:.0%} interval)")
    # A "$" in a label must not begin a formula.
    rates.set_yticks(range(len(found.groups)), [group.name.replace("$", r"\$") for group in found.groups])
    rates.invert_yaxis()
    results = [run for run in runs if run.counted and not run.rerun_of]
    _durations(times, [[run for run in results if value_of(run, by) == group.name] for group in found.groups])
    return figure


def _durations(axes: Axes, groups: Sequence[Sequence[RunRecord]]) -> None:
    for row, runs in enumerate(groups):
        for number, run in enumerate(runs):
            offset = ((number % 5) - 2) * 0.08  # beside each other, in the same way each time
            axes.plot(run.seconds or 0.0, row + offset, ".", color=STATE_COLOURS[run.state], alpha=0.6)
    axes.set(xlabel="seconds of a run (green: passed)")
    axes.set_xlim(left=0)
