"""Runs as a picture: pass rates with their intervals, and how long runs took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bb_jupyter.experiment.compare import compare, needed
from bb_jupyter.experiment.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours that most people can tell apart (M. Okabe and K. Ito, "Color Universal Design", 2008).
PASSED, FAILED, STOPPED = "#009e73", "#d55e00", "#999999"
_WIDTH, _ROW, _FRAME = 9.0, 0.45, 1.3


def draw(runs: Sequence[RunRecord], by: str = "agent", *, confidence: float = 0.95) -> Figure:
    """Draw the groups of runs along one axis; see `compare`.

    The figure belongs to no window and no global state: show it by making it a cell's value, or save it.

    Raises:
        UsageError: matplotlib is not installed, or there is no such axis.
    """
    needed("matplotlib", "a figure")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = compare(runs, by, confidence=confidence)
    figure = Figure(figsize=(_WIDTH, _FRAME + _ROW * max(1, len(found.groups))), layout="constrained")
    FigureCanvasAgg(figure)
    rates, times = figure.subplots(1, 2, sharey=True)
    for row, group in enumerate(found.groups):
        errors = [[max(0.0, group.rate - group.low)], [max(0.0, group.high - group.rate)]]
        rates.errorbar(group.rate, row, xerr=errors, fmt="o", color=PASSED, capsize=4)
    rates.set(xlim=(-0.03, 1.03), xlabel=f"share that passed ({confidence:.0%} interval)")
    # Labels are data: "$" must not begin a formula.
    rates.set_yticks(range(len(found.groups)), [group.name.replace("$", r"\$") for group in found.groups])
    rates.invert_yaxis()
    _durations(times, [_seconds(runs, by, group.name) for group in found.groups])
    return figure


def _durations(axes: Axes, groups: Sequence[Sequence[tuple[float, bool]]]) -> None:
    for row, seconds in enumerate(groups):
        for number, (value, passed) in enumerate(seconds):
            offset = ((number % 5) - 2) * 0.08  # beside each other, and the same each time
            axes.plot(value, row + offset, ".", color=PASSED if passed else FAILED, alpha=0.6)
    axes.set(xlabel="seconds of a run (green: passed)")
    axes.set_xlim(left=0)


def _seconds(runs: Sequence[RunRecord], by: str, name: str) -> list[tuple[float, bool]]:
    results = (run for run in runs if run.counted and not run.rerun_of)
    return [
        (run.seconds or 0.0, run.passed) for run in results if str(run.parameters.get(by, getattr(run, by, ""))) == name
    ]
