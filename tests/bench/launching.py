"""Rows about time: load the extension, launch, exec, list, stop."""

from __future__ import annotations

import contextlib
import itertools
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from unittest.mock import patch

import docker
from docker.types import Mount

from bb_jupyter import manifest
from bb_jupyter.backend import registry
from bb_jupyter.backend.base import no_progress
from bb_jupyter.backend.bubblewrap import bwrap, sandbox, spawn
from bb_jupyter.backend.docker.backend import DockerBackend
from bb_jupyter.backend.execution import Execution
from bb_jupyter.backend.shared.container_engine import sidecar
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import Session
from tests.bench.measure import Row, alternately, timed
from tests.leftovers import Engine

_LOAD = """
import time, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
start = time.perf_counter()
if sys.argv[1] == "load": shell.run_line_magic("load_ext", "bb_jupyter")
print((time.perf_counter() - start) * 1000)
"""
_names = (f"bench{number}" for number in itertools.count())


def load_ext() -> Row:
    """`%load_ext bb_jupyter` in a bare IPython, in a process of its own each time."""

    def run(mode: str) -> float:
        done = subprocess.run([sys.executable, "-c", _LOAD, mode], stdout=subprocess.PIPE, check=True)
        return float(done.stdout)

    run("load")
    row = Row("%load_ext bb_jupyter", "an empty statement", "<= 60 ms more")
    for _ in range(9):
        row.ours.append(run("load"))
    return row


def bubblewrap_launch(session: Session) -> Row:
    """From nothing to the first byte of output, against `true` by hand in the same sandbox; and in a bare one."""
    bare = [str(bwrap.find()[0]), "--ro-bind", "/", "/", "--unshare-all", "--proc", "/proc", "--dev", "/dev", "true"]
    options = LaunchOptions(backend="bubblewrap")
    row = Row("bubblewrap: launch to first output byte", "the same bwrap, true", "<= 3x, <= 60 ms")
    started: list[BottleHandle] = []

    def ours() -> None:
        handle = session.launch(next(_names), options)
        started.append(handle)
        next(iter(handle.exec(["echo", "x"])))

    row.ours, row.theirs = alternately(15, ours, _bwrap_by_hand)
    # It binds every mount of the host, and may stumble over one that goes at the same time.
    row.facts["bare bwrap true"] = statistics.median(timed(lambda: subprocess.run(bare)) for _ in range(15))
    session.stop_all()
    return row


def _bwrap_by_hand() -> None:
    """Start `true` in the sandbox of a bottle, as an ordinary user's kernel makes it."""
    with ExitStack() as stack, patch.object(os, "geteuid", lambda: 1000):
        files = spawn.open_files(stack)
        argv = sandbox.command(
            "bench", disk=4 << 30, files=files, control=0, owner=None, info=1, seccomp=None, rlimits={}
        )
        by_hand = [*argv[: argv.index("--info-fd")], "--", "true"]
        subprocess.run(by_hand, check=True, pass_fds=list(files.values()))


def docker_launch(session: Session, engine: Engine) -> Row:
    """From nothing to the first byte, against create, start and exec of the same container by the engine's API."""
    options = LaunchOptions(backend="docker", image=engine.base_image)
    api = docker.APIClient(engine.address)
    made: list[str] = []
    running: list[Execution] = []

    def ours() -> None:
        running.append(_first_byte(session.launch(next(_names), options)))

    def theirs() -> None:
        host = api.create_host_config(network_mode="none", cap_drop=["ALL"], pids_limit=1024, mem_limit=4 << 30)
        made.append(api.create_container(engine.base_image, ["sleep", "600"], user="1000", host_config=host)["Id"])
        api.start(made[-1])
        run = api.exec_create(made[-1], ["echo", "x"])["Id"]
        next(api.exec_start(run, stream=True))

    row = Row("docker: launch to first output byte", "API create+start+exec", "<= 1.25x")
    row.ours, row.theirs = alternately(9, ours, theirs)
    session.stop_all()
    for container in made:
        api.remove_container(container, force=True)
    return row


def docker_launches_with_gateway(session: Session, engine: Engine) -> Iterator[Row]:
    """From nothing to the first byte, against create and start alone of the same containers, one by one."""
    manifest.define_bottle("bench-broker", "supervise: true")
    gated = LaunchOptions(backend="docker", image=engine.base_image, allow=("example.org",))
    yield _gated_launch(session, engine, "docker, gateway", gated)
    yield _gated_launch(session, engine, "docker, gateway, broker", replace(gated, bottle="bench-broker"), "supervise")


def _gated_launch(session: Session, engine: Engine, what: str, options: LaunchOptions, *services: str) -> Row:
    row = Row(f"{what}: launch to first byte", f"API create+start of the {4 if services else 3}", "<= 1x")
    started: list[Execution] = []
    base = patch.dict(os.environ, BOT_BOTTLE_BASE_IMAGE=engine.base_image)
    with base, contextlib.closing(docker.APIClient(engine.address)) as api:
        containers = GatedContainers(
            api, engine.base_image, sidecar.obtain_image(DockerBackend().engine(), no_progress), services
        )
        for number in range(10):
            ours = timed(lambda: started.append(_first_byte(session.launch(next(_names), options))))
            session.stop_all()  # before the other side begins: what goes on in the background would slow it
            theirs = timed(containers.start)
            containers.remove()
            if number:  # the first pair warms up
                row.ours.append(ours)
                row.theirs.append(theirs)
    return row


def _first_byte(handle: BottleHandle) -> Execution:
    """Run a command until something comes; it is not ended, which would take another command."""
    execution = handle.exec(["echo", "x"])
    execution.poll()
    return execution


class GatedContainers:
    """A bottle, its gateway, handoff and relay by the engine's API: started one after the other, and not waited for."""

    def __init__(self, api: docker.APIClient, bottle: str, gateway: str, services: Sequence[str]) -> None:
        self._api, self._bottle, self._gateway, self._services = api, bottle, gateway, services
        self._made: list[str] = []

    def start(self) -> None:
        meeting = [Mount(sidecar.MEETING, "bb-bench", type="volume")]
        python = [sidecar.PYTHON, "-m"]
        agent = self._start(self._bottle, ["sleep", "600"], network_mode="none")
        self._start(self._gateway, [*python, "bb_jupyter.gateway"], network_mode="bridge", mounts=meeting)
        handoff = [*python, "bb_jupyter.gateway.handoff.send_listener", f"{sidecar.MEETING}/hand_off"]
        self._start(self._gateway, handoff, network_mode=f"container:{agent}", mounts=meeting)
        if self._services:
            relay = [*python, "bb_jupyter.gateway.handoff.mux", *self._services]
            self._start(self._gateway, relay, network_mode=f"container:{agent}")

    def remove(self) -> None:
        while self._made:
            self._api.remove_container(self._made.pop(), force=True)
        self._api.remove_volume("bb-bench")

    def _start(self, image: str, command: list[str], **host: object) -> str:
        config = self._api.create_host_config(cap_drop=["ALL"], mem_limit=512 << 20, pids_limit=128, **host)
        self._made.append(self._api.create_container(image, command, stdin_open=True, host_config=config)["Id"])
        self._api.start(self._made[-1])
        return self._made[-1]


def exec_round_trip(session: Session, engine: Engine) -> Iterator[Row]:
    """`true`, waited for, against the docker client's command line in the same container."""
    boxed = session.launch(next(_names), LaunchOptions(backend="docker", image=engine.base_image))
    light = session.launch(next(_names), LaunchOptions(backend="bubblewrap"))
    command = ["docker", "-H", engine.address, "exec", f"bb-{boxed.plan.slug}", "true"]
    for handle, wanted in ((boxed, "<= 1x"), (light, "<= 0.1x")):
        row = Row(f"{handle.plan.spec.backend}: exec round trip", "docker exec", wanted)

        def ours(handle: BottleHandle = handle) -> None:
            handle.exec(["true"]).wait()

        row.ours, row.theirs = alternately(30, ours, lambda: subprocess.run(command, check=True))
        yield row
    session.stop_all()


def listing(session: Session, engine: Engine) -> Iterator[Row]:
    """Fifty bottles, on the engine or most of them elsewhere, against one list call of the engine."""
    api = docker.APIClient(engine.address)
    for title, boxed, wanted in (("50 docker bottles", 50, "<= 2x"), ("10 docker, 40 bubblewrap", 10, "-")):
        for number in range(50):
            backend = "docker" if number < boxed else "bubblewrap"
            image = engine.base_image if number < boxed else ""
            session.launch(next(_names), LaunchOptions(backend=backend, image=image))
        row = Row(f"ls: {title}", "one engine list call", wanted)
        row.ours, row.theirs = alternately(20, registry.enumerate_active, lambda: api.containers(all=True))
        session.stop_all()
        yield row


def stopping(session: Session, engine: Engine) -> Row:
    """Twenty containers stopped together, against the engine's remove of as many, one after the other."""
    api = docker.APIClient(engine.address)
    options = LaunchOptions(backend="docker", image=engine.base_image)
    row = Row("stop 20 docker bottles", "remove, one at a time", "<= 0.5x")
    for _ in range(2):
        for _ in range(20):
            session.launch(next(_names), options)
        row.ours.append(timed(session.stop_all))
        slugs = [session.launch(next(_names), options).plan.slug for _ in range(20)]
        row.theirs.append(timed(lambda slugs=slugs: [api.remove_container(f"bb-{slug}", force=True) for slug in slugs]))  # type: ignore[misc]
        session.stop_all()
    return row
