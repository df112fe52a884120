"""Comparison of groups of runs: pass rates, and how certain their differences are.

Pass rates have Wilson's score interval (E. B. Wilson, 1927; recommended for small samples by Brown, Cai and DasGupta,
"Interval Estimation for a Binomial Proportion", Statistical Science 16, 2001).  Runs of two groups that share all else
(agent, prompt, bottle, parameters, repeat; of two agents the seed, too) are pairs; the difference of their pass rates
has the adjusted Wald interval of D. G. Bonett and R. M. Price ("Adjusted Wald Confidence Interval for a Difference of
Binomial Proportions Based on Paired Data", Journal of Educational and Behavioral Statistics 37, 2012), and McNemar's
exact test.

All results are about these tasks: repeats show the randomness of each task, not the outcome on other tasks.  No p is
corrected for multiple comparisons: of many pairs of groups, some are uneven by chance.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from bb_jupyter.errors import UsageError, did_you_mean
from bb_jupyter.experiment.record import RunRecord
from bb_jupyter.text.table import html_table, text_table

if TYPE_CHECKING:
    import pandas

_AXES = ("agent", "prompt", "bottle", "repeat")


@dataclass(frozen=True)
class Group:
    """The runs of one agent, or of one value of another axis.

    Attributes:
        name: the group's label.
        runs: number of results.
        passed: how many passed.
        rate: share of passed runs.
        low: lower end of the interval of *rate*.
        high: upper end.
        seconds: median duration of a run.
        slowest: 90th percentile of the duration.
        tokens: median tokens of a run.
        cost: mean US dollars of a run; `None` when unknown.
        cost_of_pass: US dollars for each passed run; `None` when unknown or when none passed.
    """

    name: str
    runs: int
    passed: int
    rate: float
    low: float
    high: float
    seconds: float
    slowest: float
    tokens: float
    cost: float | None
    cost_of_pass: float | None


@dataclass(frozen=True)
class Pair:
    """Two groups, compared by the runs that they share.

    Attributes:
        first: label of one group.
        second: label of the other.
        pairs: number of pairs of runs.
        only_first: pairs in which only the first group's run passed.
        only_second: pairs in which only the second group's run passed.
        difference: pass rate of the first minus that of the second, on these pairs.
        low: lower end of its interval.
        high: upper end.
        p: McNemar's exact two-sided test: probability of so uneven a split if both were equally good.
    """

    first: str
    second: str
    pairs: int
    only_first: int
    only_second: int
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, repr=False)
class Comparison:
    """A comparison of groups of runs.

    Attributes:
        by: the axis.
        confidence: confidence of every interval.
        groups: the groups, in the order of the grid.
        pairs: every two groups that share runs.
    """

    by: str
    confidence: float
    groups: tuple[Group, ...]
    pairs: tuple[Pair, ...]

    def to_dataframe(self) -> pandas.DataFrame:
        """Return the groups as a table.

        Raises:
            UsageError: pandas is not installed.
        """
        pandas = import_optional("pandas", "a table")
        rows = [{field.name: getattr(group, field.name) for field in fields(Group)} for group in self.groups]
        return pandas.DataFrame(rows).rename(columns={"name": self.by}).set_index(self.by)

    def tables(self, *, times: bool = True) -> list[tuple[list[str], list[list[str]]]]:
        """Return the tables to show: for each its head and its rows, as text.

        Args:
            times: include durations, which differ from one execution to the next.
        """
        interval = f"{self.confidence:.0%} interval"
        money = any(group.cost is not None for group in self.groups)
        head = [self.by, "runs", "passed", "rate", interval]
        head += ["seconds", "slowest"] if times else []
        head += ["tokens", "$ a run", "$ a pass"] if money else []
        found = [(head, [_row(group, times=times, money=money) for group in self.groups])]
        if self.pairs:
            heads = [f"{self.by} pairs", "pairs", "only first", "only second", "difference", interval, "p"]
            found.append((heads, [_pair_row(pair) for pair in self.pairs]))
        return found

    def text(self, *, times: bool = True) -> str:
        """Return the tables as text; see `tables`."""
        return "\n\n".join(text_table(rows, head) for head, rows in self.tables(times=times))

    def __repr__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return "".join(html_table(rows, head) for head, rows in self.tables())


def compare(runs: Iterable[RunRecord], by: str = "agent", *, confidence: float = 0.95) -> Comparison:
    """Compare the groups of runs along one axis.

    Args:
        runs: the runs; those without a result are left out.
        by: `agent`, `prompt`, `bottle`, or the name of a parameter.
        confidence: confidence of the intervals, between 0 and 1.

    Raises:
        UsageError: there is no such axis.
    """
    results = sorted((run for run in runs if run.counted and not run.rerun_of), key=lambda run: run.id)
    known = {*_AXES[:3], *(name for run in results for name in run.parameters)}
    if by not in known:
        raise UsageError(f"runs cannot be compared by '{by}'", hint=did_you_mean(by, known))
    grouped: dict[str, list[RunRecord]] = {}
    for run in results:
        grouped.setdefault(value_of(run, by), []).append(run)
    groups = tuple(_group(name, members, confidence) for name, members in grouped.items())
    shared = {name: {_rest(run, by): run.passed for run in members} for name, members in grouped.items()}
    pairs = (_pair(one, two, shared, confidence) for one, two in itertools.combinations(grouped, 2))
    return Comparison(by, confidence, groups, tuple(pair for pair in pairs if pair.pairs))


def wilson(passed: int, runs: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share.

    Args:
        passed: successes.
        runs: trials; with none, the interval is 0 to 1.
        confidence: between 0 and 1.
    """
    if not runs:
        return 0.0, 1.0
    z, rate = _z(confidence), passed / runs
    middle = (rate + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z * math.sqrt(rate * (1 - rate) / runs + z * z / (4 * runs * runs)) / (1 + z * z / runs)
    return (0.0 if not passed else max(0.0, middle - half)), (1.0 if passed == runs else min(1.0, middle + half))


def paired(only_first: int, only_second: int, pairs: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Bonett and Price's interval of the difference of two paired shares.

    Args:
        only_first: pairs where only the first succeeded.
        only_second: pairs where only the second did.
        pairs: all pairs, at least 1.
        confidence: between 0 and 1.
    """
    one, two = (only_first + 1) / (pairs + 2), (only_second + 1) / (pairs + 2)
    half = _z(confidence) * math.sqrt((one + two - (one - two) ** 2) / (pairs + 2))
    return max(-1.0, one - two - half), min(1.0, one - two + half)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p of McNemar's test."""
    uneven = only_first + only_second
    tail, ways = 0, 1  # ways: C(uneven, k), each from the one before
    for k in range(min(only_first, only_second) + 1):
        tail += ways
        ways = ways * (uneven - k) // (k + 1)
    return min(1.0, 2 * tail / (1 << uneven))


def import_optional(module: str, what: str) -> Any:  # noqa: ANN401 - a module
    """Import an optional package.

    Args:
        module: the module to import.
        what: what needs the package, for the message.

    Raises:
        UsageError: the package is not installed.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise UsageError(f"{what} needs {package}", hint=f"pip install {package}") from None


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, got {confidence}")
    return statistics.NormalDist().inv_cdf((1 + confidence) / 2)


def value_of(run: RunRecord, axis: str) -> str:
    """Return a run's value on an axis: its agent's label, say, or the value of a parameter."""
    return str(run.parameters[axis] if axis in run.parameters else getattr(run, axis))


def _group(name: str, runs: Sequence[RunRecord], confidence: float) -> Group:
    passed = sum(run.passed for run in runs)
    seconds = sorted(run.seconds or 0.0 for run in runs)
    costs = [run.cost for run in runs if run.cost is not None]
    return Group(
        name=name,
        runs=len(runs),
        passed=passed,
        rate=passed / len(runs),
        low=wilson(passed, len(runs), confidence)[0],
        high=wilson(passed, len(runs), confidence)[1],
        seconds=statistics.median(seconds),
        slowest=seconds[min(len(seconds) - 1, int(len(seconds) * 0.9))],
        tokens=statistics.median(run.tokens for run in runs),
        cost=statistics.fmean(costs) if costs else None,
        cost_of_pass=sum(costs) / passed if costs and passed else None,
    )


def _pair(first: str, second: str, sides: Mapping[str, Mapping[tuple[object, ...], bool]], confidence: float) -> Pair:
    one, two = sides[first], sides[second]
    both = [(passed, two[key]) for key, passed in one.items() if key in two]
    only_first, only_second = both.count((True, False)), both.count((False, True))
    low, high = paired(only_first, only_second, len(both), confidence) if both else (-1.0, 1.0)
    difference = (only_first - only_second) / len(both) if both else 0.0
    return Pair(
        first, second, len(both), only_first, only_second, difference, low, high, mcnemar(only_first, only_second)
    )


def _rest(run: RunRecord, by: str) -> tuple[object, ...]:
    """Return the values that a run shares with its counterpart in another group."""
    axes = tuple(getattr(run, axis) for axis in _AXES if axis != by)
    return (*axes, *(pair for pair in sorted(run.parameters.items()) if pair[0] != by))


def _row(group: Group, *, times: bool, money: bool) -> list[str]:
    cells = [group.name, f"{group.runs}", f"{group.passed}", f"{group.rate:.0%}", f"{group.low:.0%} – {group.high:.0%}"]
    cells += [f"{group.seconds:.1f}", f"{group.slowest:.1f}"] if times else []
    if money:
        cells += [f"{group.tokens:,.0f}", *("–" if c is None else f"{c:.4f}" for c in (group.cost, group.cost_of_pass))]
    return cells


def _pair_row(pair: Pair) -> list[str]:
    interval = f"{pair.low:+.0%} – {pair.high:+.0%}"
    counts = [f"{pair.pairs}", f"{pair.only_first}", f"{pair.only_second}"]
    return [f"{pair.first} – {pair.second}", *counts, f"{pair.difference:+.0%}", interval, f"{pair.p:.2g}"]
