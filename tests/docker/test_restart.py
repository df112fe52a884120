"""An engine that is restarted while bottles run: the machine's reboot, as the engine sees it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import docker
import pytest

from bb_jupyter.backend import state
from bb_jupyter.backend.docker.backend import DockerBackend
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from bb_jupyter.errors import BottleGone, NameTaken
from tests.docker.conftest import out, until
from tests.leftovers import Engine

_CHILD = """
import sys, time
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import current
for name in sys.argv[1:]:
    held = current().launch(name, LaunchOptions(backend="docker", keep=name.endswith("-kept")))
    held.exec(["sh", "-c", "echo 42 > answer"]).wait()
print("up", flush=True)
time.sleep(600)
"""


class OwnEngine:
    """An engine of a test's own, in a network namespace of its own: two in one flush each other's firewall."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix://{folder}/docker.sock"
        own = f"--data-root={folder}/data --exec-root={folder}/exec --pidfile={folder}/pid --host={self.address}"
        self._command = ["setpriv", "--pdeathsig=TERM", "unshare", "--net", "dockerd", *own.split(), "--bridge=none"]
        self._command += ["--iptables=false", "--ip6tables=false"]
        self._log = folder / "log"
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._daemon = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._answers)

    def stop(self) -> None:
        self._daemon.terminate()
        self._daemon.wait(60)

    def _answers(self) -> bool:
        assert self._daemon.poll() is None, self._log.read_text()[-2000:]
        with contextlib.suppress(docker.errors.DockerException):
            return bool(docker.APIClient(self.address, timeout=10).ping())
        return False


@pytest.fixture
def own(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnEngine]:
    if os.geteuid() or not all(map(shutil.which, ("dockerd", "setpriv", "unshare"))):
        pytest.skip("only root, and where there is a dockerd, can start an engine of its own")
    with TemporaryDirectory(prefix="bb-", ignore_cleanup_errors=True) as folder:
        started = OwnEngine(Path(folder))
        try:
            with engine.client() as theirs, contextlib.closing(docker.APIClient(started.address, timeout=120)) as api:
                api.load_image(theirs.api.get_image(engine.busybox_image))
            monkeypatch.setenv("DOCKER_HOST", started.address)
            monkeypatch.setenv("BOT_BOTTLE_BASE_IMAGE", engine.busybox_image)
            yield started
        finally:
            with contextlib.closing(docker.APIClient(started.address, timeout=120)) as api:
                for container in api.containers(all=True):
                    api.remove_container(container, force=True)
            started.stop()
            subprocess.run(["umount", "--quiet", f"{folder}/data"], check=False)


def test_bottles_of_dead_kernels_and_of_this_one_after_the_engine_was_restarted(
    own: OwnEngine, backend: DockerBackend, bottle_name: str
) -> None:
    names = [f"{bottle_name}-{kind}" for kind in ("kept", "lost", "also-kept")]
    child = subprocess.Popen([sys.executable, "-c", _CHILD, *names], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "up\n"
    child.kill()
    child.wait()
    session, mine = Session(), LaunchOptions(backend="docker")
    session.launch(bottle_name, mine)
    own.stop()
    own.start()
    assert {(agent.name, agent.state) for agent in session.active()} == {
        (f"{bottle_name}-kept", "stopped"),
        (f"{bottle_name}-also-kept", "stopped"),
    }
    with pytest.raises(BottleGone):
        session.get(bottle_name)
    assert out(session.launch(bottle_name, mine).bottle, "echo new") == "new\n"
    with pytest.raises(NameTaken, match="attach"):
        session.launch(f"{bottle_name}-kept", mine)
    assert out(session.attach(f"{bottle_name}-kept").bottle, "cat answer") == "42\n"
    found = session.cleanup()
    assert {line.rpartition(" of ")[2].rpartition("-")[0] for line in found} == set(names[1:]), found
    assert session.cleanup(dry_run=True) == []
    assert out(session.get(bottle_name).bottle, "echo alive") == "alive\n"
    assert out(session.get(f"{bottle_name}-kept").bottle, "cat answer") == "42\n"
    for handle in session.handles():
        handle.stop()
    assert not state.records() and not backend.enumerate_active()
