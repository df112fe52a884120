"""A private podman service, as root, that lives as long as the run; its images are kept in the cache."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bb_jupyter.backend.podman.engine import bounds
from tests.engine.dockerd import answers
from tests.engine.errors import EngineError
from tests.engine.images import ensure_images

#: Short, because the path of a Unix socket ends at 107 bytes.
_RUN = Path("/run/bb-test-podman")
_SECONDS = 30
#: crun refuses a "hybrid" hierarchy of cgroups: where there is one, its half of version 2 is taken out of sight.
_WITHOUT_HYBRID = 'mountpoint -q /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified; exec "$@"'
#: Root may lack the right to raise limits, as in a container; podman asks for its own defaults unless told others.
_CONTAINERS = """
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
"""


@contextlib.contextmanager
def podman(cache: Path) -> Iterator[tuple[str, str]]:
    """Run a service until the block ends.

    Args:
        cache: folder for its images, kept between runs.

    Yields:
        Its address, as in `CONTAINER_HOST`, and the name of the base image in it.

    Raises:
        EngineError: none can be had here.
    """
    if os.geteuid():
        raise EngineError("only root can start a private podman service")
    for program in ("podman", "crun"):
        if not shutil.which(program):
            raise EngineError(f"{program} is not installed: apt-get install {program}")
    _RUN.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (_RUN / "lock").open("w") as lock, contextlib.ExitStack() as stack:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one run at a time: they would share the storage's temporary files
        service = stack.enter_context(_service(cache / "podman"))
        stack.callback(_stop, service)
        address = f"unix://{_RUN}/podman.sock"
        _wait_until_up(service, address, cache / "podman/log")
        yield address, ensure_images(address, cache)


def _containers() -> str:
    limits = {limit["Name"]: limit["Hard"] for limit in bounds()}
    return _CONTAINERS.format(files=limits["nofile"], processes=limits["nproc"])


@contextlib.contextmanager
def _service(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    (folder / "containers.conf").write_text(_containers())
    store = f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\nrunroot = "{_RUN}/storage"\n'
    (folder / "storage.conf").write_text(store)
    env = {
        **os.environ,
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "TMPDIR": str(folder / "tmp"),
    }
    command = ["podman", "--tmpdir", f"{_RUN}/libpod", "system", "service", "--time=0", f"unix://{_RUN}/podman.sock"]
    (_RUN / "podman.sock").unlink(missing_ok=True)
    with (folder / "log").open("wb") as log:
        argv = ["unshare", "--mount", "sh", "-c", _WITHOUT_HYBRID, "sh", *command]
        yield subprocess.Popen(argv, env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _wait_until_up(service: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while not answers(address):
        if service.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines()[-5:]
            raise EngineError("the private podman service did not start; its last lines:\n" + "\n".join(lines))
        time.sleep(0.1)


def _stop(service: subprocess.Popen[bytes]) -> None:
    service.terminate()
    try:
        service.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        service.kill()
        service.wait()
