"""`python -m tests.engine run COMMAND...`: run a command that needs an engine.

`BB_SKIP_DOCKER=1` runs it without one.  Beside it a private podman service runs, unless `BB_SKIP_PODMAN=1`, or none can
be had here.  When none can be had, the command runs all the same with the reason in
`BB_ENGINE_ERROR`: the tests that need an engine then fail with it, the others still tell what they have to tell.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.engine.dockerd import engine
from tests.engine.errors import EngineError
from tests.engine.images import BUSYBOX, ensure_images
from tests.engine.podman import podman


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit status."""
    if len(arguments) < 2 or arguments[0] != "run":
        print("usage: python -m tests.engine run COMMAND...", file=sys.stderr)
        return 2
    with contextlib.ExitStack() as stack:
        return _run(arguments[1:], {**os.environ, **_settings(stack), **_podman_settings(stack)})


def _settings(stack: contextlib.ExitStack) -> dict[str, str]:
    if os.environ.get("BB_SKIP_DOCKER") == "1":
        print("tests.engine: BB_SKIP_DOCKER=1: no engine, the docker tests are skipped", flush=True)
        return {}
    try:
        cache = _cache()
        address = stack.enter_context(engine(cache))
        base = ensure_images(address, cache, os.environ.get("BB_TEST_BASE_IMAGE", ""))
    except (EngineError, OSError) as error:
        print(f"tests.engine: {error}", file=sys.stderr, flush=True)
        return {"BB_ENGINE_ERROR": str(error)}
    print(f"tests.engine: {address}, {base}", flush=True)
    return {"DOCKER_HOST": address, "BB_TEST_BASE_IMAGE": base, "BB_TEST_BUSYBOX_IMAGE": BUSYBOX}


def _podman_settings(stack: contextlib.ExitStack) -> dict[str, str]:
    if os.environ.get("BB_SKIP_PODMAN") == "1":
        return {"BB_PODMAN_ERROR": "BB_SKIP_PODMAN=1"}
    try:
        address, base = stack.enter_context(podman(_cache()))
    except (EngineError, OSError) as error:
        print(f"tests.engine: no podman: {error}", file=sys.stderr, flush=True)
        return {"BB_PODMAN_ERROR": str(error)}
    print(f"tests.engine: {address}, {base}", flush=True)
    return {"BB_TEST_PODMAN": address, "BB_TEST_PODMAN_IMAGE": base}


def _cache() -> Path:
    cache = Path(os.environ.get("BB_TEST_CACHE") or Path(__file__).parents[2] / ".cache/engine").absolute()
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _run(command: Sequence[str], env: dict[str, str]) -> int:
    with subprocess.Popen(command, env=env) as child:
        # A terminal sends Ctrl-C to the child as well; the others come to us alone.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _frame: child.send_signal(received))
        status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
