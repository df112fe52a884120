"""The statistics, against published values and against brute force."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from bb_jupyter.errors import UsageError
from bb_jupyter.experiment.compare import compare, mcnemar, paired, wilson
from bb_jupyter.experiment.record import RunOutcome, RunRecord, diff


def record(agent: str, prompt: str, repeat: int, *, passed: bool, **more: object) -> RunRecord:
    state = "passed" if passed else "failed"
    given: dict[str, object] = {
        "id": f"{agent}-{prompt}-{repeat}", "position": 0, "agent": agent, "prompt": prompt, "bottle": "",
        "parameters": {}, "repeat": repeat, "seed": 1, "state": state, "counted": True, "attempts": 1, "rerun_of": "",
        "started": None, "finished": None, "folder": Path("/nowhere"),
        "outcome": RunOutcome(state, counted=True, seconds={"total": 2.0}, usage={"cost": 0.5, "input_tokens": 10}),
    }  # fmt: skip
    return RunRecord(**{**given, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("passed", "runs", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(passed: int, runs: int, low: float, high: float) -> None:
    assert wilson(passed, runs) == pytest.approx((low, high), abs=5e-5)


def test_wilson_at_the_ends() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 5)[0] == 0.0 and wilson(5, 5)[1] == 1.0
    assert wilson(3, 5, 0.5)[0] > wilson(3, 5, 0.99)[0]


def test_mcnemar_is_the_exact_binomial_test() -> None:
    for one, two in itertools.product(range(6), repeat=2):
        uneven = one + two
        odds = [math.comb(uneven, k) / 2**uneven for k in range(uneven + 1)]
        exact = sum(p for k, p in enumerate(odds) if abs(2 * k - uneven) >= abs(one - two))
        assert mcnemar(one, two) == pytest.approx(exact)
    assert mcnemar(5000, 5000) == 1.0 and mcnemar(0, 3000) < 1e-300


def test_the_paired_interval_covers_what_it_says() -> None:
    """By enumeration: of 20 pairs that differ with these odds, how often does the interval hold the truth?"""
    only_first, only_second, pairs = 0.3, 0.1, 20
    covered = 0.0
    for one in range(pairs + 1):
        for two in range(pairs - one + 1):
            rest = pairs - one - two
            ways = math.comb(pairs, one) * math.comb(pairs - one, two)
            odds = ways * only_first**one * only_second**two * (1 - only_first - only_second) ** rest
            low, high = paired(one, two, pairs)
            covered += odds * (low <= only_first - only_second <= high)
    assert 0.93 < covered < 0.98


def test_groups_and_pairs() -> None:
    runs = [
        record(agent, prompt, repeat, passed=agent == "good" or repeat == 1)
        for agent in ("good", "poor") for prompt in ("x", "y") for repeat in (1, 2, 3)
    ]  # fmt: skip
    found = compare(runs)
    good, poor = found.groups
    assert (good.name, good.runs, good.passed, good.rate) == ("good", 6, 6, 1.0)
    assert (poor.passed, poor.cost, poor.cost_of_pass) == (2, 0.5, 1.5)
    (pair,) = found.pairs
    assert (pair.pairs, pair.only_first, pair.only_second) == (6, 4, 0)
    assert pair.difference == pytest.approx(4 / 6) and pair.low < pair.difference < pair.high
    assert pair.p == pytest.approx(0.125)
    assert "good – poor" in str(found) and "good" in found._repr_html_()
    assert repr(found) == str(found), "what a cell shows in a page without HTML"


def test_what_is_no_result_does_not_count() -> None:
    runs = [
        record("a", "x", 1, passed=True),
        record("a", "x", 2, passed=False, counted=False),
        record("a", "x", 3, passed=False, rerun_of="a-x-1"),
    ]
    assert compare(runs).groups[0].runs == 1


def test_by_a_parameter() -> None:
    runs = [record("a", "x", 1, passed=level == "1", parameters={"LEVEL": level}) for level in "12"]
    assert [(group.name, group.rate) for group in compare(runs, "LEVEL").groups] == [("1", 1.0), ("2", 0.0)]
    assert compare(runs, "LEVEL").pairs[0].pairs == 1
    with pytest.raises(UsageError, match="cannot be compared"):
        compare(runs, "level")


def test_a_table_of_hostile_labels_is_text() -> None:
    shown = compare([record("<script>\x1b[2J", "x", 1, passed=True)])
    assert "<script>" not in shown._repr_html_() and "\x1b" not in str(shown) + shown._repr_html_()


def test_how_two_runs_differ(tmp_path: Path) -> None:
    folders = []
    for name, word in (("one", "right"), ("two", "wrong")):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        (folders[-1] / "workspace.diff").write_text(f"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+{word}\n")
    one = record("a", "x", 1, passed=True, folder=folders[0])
    two = record("b", "x", 1, passed=False, folder=folders[1])
    found = diff(one, two)
    assert found.facts["agent"] == ("a", "b") and found.facts["passed"] == (True, False)
    assert "-+right\n++wrong" in found.workspace
    assert str(diff(one, one)) == "no difference"
