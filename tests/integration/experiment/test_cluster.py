"""A real dask cluster of several worker processes: runs on all of them, one killed, all of them stopped."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bb_jupyter.errors import UsageError
from bb_jupyter.experiment import Finished
from bb_jupyter.experiment.schedule import ExperimentProgress
from bb_jupyter.manifest import define_bottle
from tests.integration.experiment.conftest import New
from tests.leftovers import leftovers

distributed = pytest.importorskip("distributed")
pytestmark = [pytest.mark.bubblewrap, pytest.mark.timeout(600)]


@contextlib.contextmanager
def a_cluster(home: Path) -> Iterator[distributed.Client]:
    options = {"n_workers": 3, "threads_per_worker": 1, "dashboard_address": None, "local_directory": str(home)}
    with distributed.LocalCluster(processes=True, **options) as cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture
def own_client(home: Path) -> Iterator[distributed.Client]:
    """A cluster that the test may damage."""
    with a_cluster(home) as client:
        yield client


@pytest.fixture(scope="module")
def far() -> Iterator[Path]:
    """The home of the shared cluster's workers: another one than the tests', as on another host."""
    with TemporaryDirectory(prefix="bb-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def client(far: Path) -> Iterator[distributed.Client]:
    """A cluster for all tests that leave it whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOT_BOTTLE_HOME", str(far))
        stack = contextlib.ExitStack()
        client = stack.enter_context(a_cluster(far))
    with stack:
        yield client


@pytest.fixture
def nothing_stays(home: Path) -> None:
    """The cluster's own processes name the home while they live, so each test looks for bottles by itself."""


def bottles(home: Path) -> list[str]:
    return [line for line in leftovers(home) if "state" in line or "bwrap" in line or "guest" in line]


def test_one_worker_is_killed_and_every_run_counts_once(new: New, own_client: distributed.Client, home: Path) -> None:
    heard: dict[str, set[str]] = {}
    killed: list[str] = []

    def kill_one(progress: ExperimentProgress) -> None:
        for run, state in progress.states.items():
            if state == "running" and (events := experiment[run].events):
                heard.setdefault(run, set()).add(str(events))
        if progress.count("passed") >= 3 and not killed:
            address, pid = next(iter(own_client.run(os.getpid).items()))
            os.kill(pid, signal.SIGKILL)
            killed.append(address)

    experiment = new(
        agents="shell",
        prompts="say begun\nrun sleep 1; cp solver.py copy.py\ndone ok",
        check="cmp solver.py copy.py",
        repeats=14,
    )
    experiment.run(own_client, on_tick=kill_one)
    runs = experiment.runs()
    assert killed and len(runs) == 14
    assert all(run.passed and run.counted for run in runs)
    assert any(run.attempts > 1 for run in runs), "what the dead worker had was begun again"
    assert len({run.outcome.facts["worker"] for run in runs if run.outcome}) >= 3
    assert heard, "events came while runs went on"
    assert all(run.events and run.diff and run.answer == "ok" for run in runs)
    assert bottles(home) == []


def test_cancelling_reaches_every_worker(new: New, client: distributed.Client, far: Path) -> None:
    def interrupt(progress: ExperimentProgress) -> None:
        if progress.count("running") == 3 and not progress.stopping:
            raise KeyboardInterrupt

    experiment = new(prompts="sleep 300", repeats=9)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(client.get_executor(), on_tick=interrupt)
    assert bottles(far) == []
    assert not any(run.counted for run in experiment.runs())
    assert sum(run.reason == "interrupted" for run in experiment.runs()) >= 3
    assert client.submit(int).result(timeout=60) == 0, "the cluster is the user's, and still works"


def test_hidden_tests_python_checks_and_bottles_of_cells_travel(
    new: New, client: distributed.Client, tmp_path: Path, bottle_name: str
) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "t.sh").write_text('grep -q $ANSWER "$WORK/answer"\n')
    define_bottle(bottle_name, "env: {ANSWER: 42}")  # what `%%bottle_manifest` does
    check = {"command": "sh t.sh", "hidden": str(tests), "bottle": bottle_name}
    hidden = new("hidden", prompts="echo $ANSWER > answer", check=check, bottles=bottle_name)
    assert [run.state for run in hidden.run(client).runs()] == ["passed"]

    def check(finished: Finished) -> bool:
        return finished.read("answer") == b"42\n"

    assert [run.state for run in new("python", prompts="echo 42 > answer", check=check).run(client).runs()] == [
        "passed"
    ]


def test_a_budget_holds_on_a_cluster(new: New, client: distributed.Client, far: Path) -> None:
    done = new(prompts={"quick": "true", "slow": "sleep 300"}, limits={"time": "6s"}).run(client)
    assert [run.state for run in done.runs()] == ["passed", "stopped"]
    assert bottles(far) == []


def test_a_client_that_is_asynchronous_is_refused(new: New) -> None:
    class Client(distributed.Client):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            pass

        asynchronous = True

    Client.__module__ = "distributed.client"
    with pytest.raises(UsageError, match="asynchronous"):
        new().run(Client())
