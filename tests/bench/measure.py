"""How a row is measured: both sides alternately in one run, so that what the machine does otherwise hits both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Row:
    """One measured row.

    Attributes:
        what: what was measured.
        against: what it was measured against.
        wanted: the aim, in words.
        unit: of the samples.
        ours: samples of ours.
        theirs: samples of the other side; the ratio is of the medians, ours to theirs.
        facts: further numbers.
    """

    what: str
    against: str
    wanted: str
    unit: str = "ms"
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    facts: dict[str, float] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Ours to theirs, by medians."""
        return statistics.median(self.ours) / statistics.median(self.theirs) if self.ours and self.theirs else None

    def to_json(self) -> dict[str, object]:
        """Return everything, the raw samples included."""
        return {
            **vars(self),
            "ratio": self.ratio,
            "ours_p": percentiles(self.ours),
            "theirs_p": percentiles(self.theirs),
        }

    def __str__(self) -> str:
        ratio = f"{self.ratio:.2f}x" if self.ratio is not None else "-"
        facts = ", ".join(f"{name} {value:.1f}" for name, value in self.facts.items())
        return (
            f"{self.what:<44} {ratio:>8}  wanted {self.wanted:<18} ours {_shown(self.ours, self.unit)}"
            f"  {self.against} {_shown(self.theirs, self.unit)}" + (f"  ({facts})" if facts else "")
        )


def percentiles(samples: list[float]) -> dict[str, float]:
    """Return p50 and p95."""
    if not samples:
        return {}
    ordered = sorted(samples)
    return {"p50": statistics.median(ordered), "p95": ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]}


def alternately(
    rounds: int, ours: Callable[[], object], theirs: Callable[[], object]
) -> tuple[list[float], list[float]]:
    """Time two calls in turns, after one unmeasured round of each.

    Returns:
        Milliseconds of each call.
    """
    ours(), theirs()
    samples: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for index, act in enumerate((ours, theirs)):
            samples[index].append(timed(act))
    return samples


def timed(act: Callable[[], object]) -> float:
    """Return how long a call took, in milliseconds."""
    start = time.perf_counter()
    act()
    return (time.perf_counter() - start) * 1000


def _shown(samples: list[float], unit: str) -> str:
    if not samples:
        return "-"
    found = percentiles(samples)
    return f"p50 {found['p50']:.1f} p95 {found['p95']:.1f} {unit}"
