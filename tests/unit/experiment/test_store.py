"""The index: each run is claimed once and counted once, whoever works on it."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bb_jupyter.errors import UsageError
from bb_jupyter.experiment.definition import RunSpec
from bb_jupyter.experiment.record import RunOutcome
from bb_jupyter.experiment.store import Store, new_owner
from bb_jupyter.process.identity import ProcessIdentity

PASSED = RunOutcome("passed", counted=True)


def specs(count: int) -> list[RunSpec]:
    return [RunSpec(f"{n:04d}", n, "a", "x", "", n, 7, {"P": "1"}) for n in range(1, count + 1)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "demo")
    store.create({"definition": {"name": "demo"}}, specs(4))
    return store


def claimed(store: Store, owner: str) -> RunSpec:
    spec = store.claim(owner)
    assert spec is not None
    return spec


def test_what_was_written_is_read(store: Store) -> None:
    assert store.facts() == {"definition": {"name": "demo"}}
    assert claimed(store, new_owner("me")) == specs(1)[0]
    assert store.states() == dict.fromkeys(("0001", "0002", "0003", "0004"), "waiting")


def test_nothing_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no experiment"):
        Store(tmp_path / "other").facts()


def test_a_run_is_claimed_once(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(lambda n: store.claim(new_owner(str(n))), range(8))]
    assert sorted(spec.id for spec in found if spec) == ["0001", "0002", "0003", "0004"]


def _take_all(folder: Path, nonce: str, taken: multiprocessing.Queue[list[str]]) -> None:
    store, owner, mine = Store(folder), new_owner(nonce), []
    while spec := store.claim(owner):
        store.begin(spec.id, nonce)
        assert store.finish(spec.id, nonce, PASSED)
        mine.append(spec.id)
    taken.put(mine)


def test_two_processes_share_the_work(tmp_path: Path) -> None:
    store = Store(tmp_path / "many")
    store.create({}, specs(60))
    context = multiprocessing.get_context("spawn")
    taken: multiprocessing.Queue[list[str]] = context.Queue()
    processes = [context.Process(target=_take_all, args=(store.folder, str(n), taken)) for n in range(2)]
    for process in processes:
        process.start()
    found = taken.get(timeout=120) + taken.get(timeout=120)
    for process in processes:
        process.join(60)
    assert sorted(found) == [spec.id for spec in specs(60)]
    assert {*store.states().values()} == {"passed"}


def test_a_result_counts_once(store: Store) -> None:
    run = claimed(store, new_owner("me")).id
    store.begin(run, "first")
    store.begin(run, "second")
    assert not store.finish(run, "first", PASSED), "a lost attempt came back"
    assert store.finish(run, "second", replace(PASSED, state="failed"))
    assert not store.finish(run, "second", PASSED)
    store.lose(run, "too late")
    row = store.rows(run)[0]
    assert (row["state"], row["counted"], row["attempts"]) == ("failed", 1, 2)


def test_a_new_attempt_leaves_nothing_of_the_old_one(store: Store) -> None:
    (store.begin("0001", "first") / "events.jsonl").write_text("old")
    assert [*store.begin("0001", "second").iterdir()] == []


def test_what_the_dead_held_is_free_again(store: Store) -> None:
    me = new_owner("me")
    dead = json.dumps({**replace(ProcessIdentity.current(), start_time=1).to_dict(), "nonce": "x"})
    lost, mine = claimed(store, dead).id, claimed(store, me).id
    store.begin(lost, "first")
    store.reset()
    assert store.states()[lost] == "waiting"
    assert [claimed(store, me).id for _ in range(3)] == [lost, "0003", "0004"]
    assert mine not in (lost, "0003", "0004"), "what a live owner holds stays its own"


def test_a_run_without_a_result_is_repeated(store: Store) -> None:
    me = new_owner("me")
    done, lost = claimed(store, me).id, claimed(store, me).id
    for run, outcome in ((done, PASSED), (lost, RunOutcome.lost("the host failed"))):
        store.begin(run, "only")
        assert store.finish(run, "only", outcome)
    store.free(me)
    assert store.states()[lost] == "stopped"
    store.reset()
    assert {done: "passed", lost: "waiting"}.items() <= store.states().items()


def test_a_rerun_is_none_of_the_grid(store: Store) -> None:
    me = new_owner("me")
    store.add(replace(specs(1)[0], id="0001r1", position=-1), rerun_of="0001", owner=me)
    assert "0001r1" not in store.states()
    store.free(me)
    store.reset()
    found = [store.claim(me) for _ in range(5)]
    assert [spec.id for spec in found if spec] == ["0001", "0002", "0003", "0004"]


def test_it_is_in_wal_mode(store: Store) -> None:
    db = sqlite3.connect(store.folder / "index.sqlite")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()


def test_what_was_used_without_a_result_stays_used(store: Store) -> None:
    spent = replace(RunOutcome.lost("interrupted"), usage={"cost": 2.0})
    for attempt in ("first", "second"):
        store.begin("0001", attempt)
        assert store.finish("0001", attempt, spent)
    store.begin("0001", "third")
    assert [outcome.usage["cost"] for outcome in store.outcomes()] == [2.0, 2.0]
    assert store.finish("0001", "third", replace(PASSED, usage={"cost": 1.0}))
    assert sum(outcome.usage["cost"] or 0 for outcome in store.outcomes()) == 5.0
