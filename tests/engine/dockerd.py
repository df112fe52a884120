"""Find an engine; where there is none, run a private `dockerd` for as long as its owner lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
from docker.errors import DockerException

from tests.engine.errors import EngineError
from tests.engine.host import apt_install

# One for the machine: two daemons in one network namespace flush each other's firewall chains.  And short: the path
# of a Unix socket ends at 107 bytes, which a checkout deep in a home would pass.
_RUN = Path("/run/bb-test-engine")
_SECONDS = 60


def find_engine() -> str | None:
    """Return the address of the engine this machine has; `None` when it has none.

    Raises:
        EngineError: `DOCKER_HOST` is set and nobody answers there, or a socket is closed to this user.
    """
    wanted = os.environ.get("DOCKER_HOST")
    if wanted:
        if not answers(wanted):
            raise EngineError(f"DOCKER_HOST={wanted} does not answer\nStart that engine, or unset DOCKER_HOST.")
        return wanted
    sockets = [Path("/var/run/docker.sock"), Path(os.environ.get("XDG_RUNTIME_DIR", "/nowhere"), "docker.sock")]
    for socket in filter(Path.is_socket, sockets):
        if answers(f"unix://{socket}"):
            return f"unix://{socket}"
        if not os.access(socket, os.W_OK):
            raise EngineError(f"{socket} is closed to this user\nJoin the group `docker`, or set DOCKER_HOST.")
    return None


def answers(address: str) -> bool:
    """Tell whether an engine answers at *address*."""
    try:
        with contextlib.closing(docker.DockerClient(address, timeout=10)) as client:
            return bool(client.ping())
    except DockerException:
        return False


@contextlib.contextmanager
def engine(cache: Path) -> Iterator[str]:
    """Give the engine found, or a private one that ends with the block.

    Args:
        cache: folder for the private engine's images, kept between runs.

    Yields:
        Its address, as in `DOCKER_HOST`.

    Raises:
        EngineError: there is none, and none can be had.
    """
    address = find_engine()
    if not address:
        if not shutil.which("dockerd"):
            apt_install("docker.io", "iptables")
            address = find_engine()  # where systemd runs, the package starts one
        elif os.geteuid():
            raise EngineError("no Docker engine answers, and only root can start one\nStart it, or set DOCKER_HOST.")
    with contextlib.ExitStack() as stack:
        yield address or stack.enter_context(_private(cache))


@contextlib.contextmanager
def _private(cache: Path) -> Iterator[str]:
    _RUN.mkdir(mode=0o700, exist_ok=True)
    with (_RUN / "lock").open("w") as lock:
        _only_one(lock.fileno())
        _forget_dead()
        log = cache / "dockerd.log"
        address = f"unix://{_RUN}/docker.sock"
        daemon = _start(address, cache / "data", log)
        try:
            _wait_until_up(daemon, address, log)
            _sweep(address)
            yield address
        finally:
            _stop(daemon, address)
            subprocess.run(["umount", "--quiet", cache / "data"])  # a daemon that was killed left its bind mount


def _start(address: str, data: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start the daemon so that the kernel ends it when its owner dies, whatever the reason (`pdeathsig`)."""
    own = f"--host={address} --exec-root={_RUN}/exec --pidfile={_RUN}/pid"
    with log.open("wb") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig=TERM", "dockerd", *own.split(), f"--data-root={data}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A session of its own: Ctrl-C is for the tests, which need the engine to clean up after themselves.
            start_new_session=True,
        )


def _only_one(lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("tests.engine: another run on this machine has the private engine; waiting for its end", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _forget_dead() -> None:
    """Wait for the daemon of a killed run to end, forget its pid files, and refuse to start beside a foreign one."""
    deadline = time.monotonic() + _SECONDS
    while others := _daemons():
        pid, arguments = others.popitem()
        if str(_RUN) not in arguments or time.monotonic() > deadline:
            socket = next((word for word in arguments.split("\0") if word.startswith("unix://")), "unix://ITS-SOCKET")
            raise EngineError(f"dockerd (pid {pid}) runs here already\nUse it: export DOCKER_HOST={socket}")
        time.sleep(0.2)
    for pidfile in (_RUN / "pid", _RUN / "exec/containerd/containerd.pid"):
        pidfile.unlink(missing_ok=True)


def _daemons() -> dict[int, str]:
    """Return the daemons in our network namespace: pid and command line."""
    found = {}
    here = Path("/proc/self/ns/net").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "comm").read_text() == "dockerd\n" and (process / "ns/net").readlink() == here:
                found[int(process.name)] = (process / "cmdline").read_text()
    return found


def _wait_until_up(daemon: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _SECONDS
    while not answers(address):
        if daemon.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines()[-5:]
            raise EngineError("the private dockerd did not start; its last lines:\n" + "\n".join(lines))
        time.sleep(0.1)


def _sweep(address: str) -> None:
    """Remove what a killed run left in the cache, except images with a name."""
    with contextlib.closing(docker.DockerClient(address, timeout=_SECONDS)) as client:
        for container in client.containers.list(all=True, ignore_removed=True):
            container.remove(force=True, v=True)
        client.networks.prune()
        client.volumes.prune()
        client.images.prune()


def _stop(daemon: subprocess.Popen[bytes], address: str) -> None:
    with contextlib.suppress(DockerException):
        _sweep(address)  # killing containers here spares the ten seconds that the daemon would give each
    daemon.terminate()
    try:
        daemon.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
