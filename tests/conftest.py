"""What every test gets: a home of its own, and an engine when it asks for one."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import pytest

from tests import notebooks
from tests.engine.images import BUSYBOX
from tests.leftovers import Engine, leftovers
from tests.smolmachines import reporting

# No test asserts speed: a busy machine is no failure.
hypothesis.settings.register_profile("bb", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("bb")


def pytest_configure(config: pytest.Config) -> None:
    """Let the rules for notebooks reach outside this folder, and report what this host cannot run."""
    # What a shell starts in the background ignores interrupts, and so would the tests that cause them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(notebooks, "bb-notebooks")
    config.pluginmanager.register(reporting, "bb-smolmachines")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let folders take turns, a file each: browsers, kernels and engines wait at the same time, and none is last."""
    files: dict[Path, dict[Path, int]] = {}
    for item in items:
        folder = files.setdefault(item.path.parent, {})
        folder.setdefault(item.path, len(folder))
    items.sort(key=lambda item: files[item.path.parent][item.path])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a file to one worker, but let its docker and podman parts go to another worker than the rest."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFileAndBackend(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            parameters = test.partition("[")[2]
            engine = next((name for name in ("docker", "podman") if name in parameters), "")
            return f"{file}:{engine}" if engine else file

    return ByFileAndBackend(config, log)


@pytest.fixture(scope="session", autouse=True)
def _never_the_users_home() -> Iterator[None]:
    """Cover what runs outside of a test, such as a fixture of wider scope."""
    with TemporaryDirectory(prefix="bb-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOT_BOTTLE_HOME", folder)
        yield


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Move `BOT_BOTTLE_HOME` to an empty folder; not below `tmp_path`, which is too long for the path of a socket."""
    with TemporaryDirectory(prefix="bb-", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("BOT_BOTTLE_HOME", folder)
        yield Path(folder)


@pytest.fixture
def bottle_name() -> str:
    """A bottle name that nobody else uses, not even another run on the same engine."""
    return f"t{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The Docker engine: a test that asks for it fails where there is none, unless `BB_SKIP_DOCKER=1`."""
    if os.environ.get("BB_SKIP_DOCKER") == "1":
        pytest.skip("BB_SKIP_DOCKER=1")
    try:
        return Engine(*(os.environ[key] for key in ("DOCKER_HOST", "BB_TEST_BASE_IMAGE", "BB_TEST_BUSYBOX_IMAGE")))
    except KeyError:
        reason = os.environ.get("BB_ENGINE_ERROR", "start pytest by `python -m tests.engine run pytest ...`")
        pytest.fail(f"no Docker engine: {reason}", pytrace=False)


@pytest.fixture(scope="session")
def podman() -> Engine:
    """The private podman service of this run; tests of it are left out where there is none (`BB_SKIP_PODMAN=1`)."""
    try:
        address, base = os.environ["BB_TEST_PODMAN"], os.environ["BB_TEST_PODMAN_IMAGE"]
    except KeyError:
        reason = os.environ.get("BB_PODMAN_ERROR", "start pytest by `python -m tests.engine run pytest ...`")
        pytest.skip(f"no podman service: {reason}")
    return Engine(address, base, BUSYBOX)


@pytest.fixture
def nothing_left(home: Path, bottle_name: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test when anything of its bottles stays.  Ask for it before the fixtures that start bottles."""
    yield
    engine = None
    if "[podman" in request.node.name:
        engine = request.getfixturevalue("podman")
    elif "engine" in request.fixturenames:
        engine = request.getfixturevalue("engine")
    deadline = time.monotonic() + 20
    while left := leftovers(home, bottle_name, engine):
        if time.monotonic() > deadline:
            pytest.fail("left behind: " + "; ".join(left), pytrace=False)
        time.sleep(0.1)
