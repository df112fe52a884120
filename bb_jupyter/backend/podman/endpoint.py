"""Where podman listens: `CONTAINER_HOST`, then the user's own socket, then root's.  Asks no service."""

from __future__ import annotations

import os
from pathlib import Path

from bb_jupyter.backend.shared.container_engine.endpoint import Endpoint, is_socket
from bb_jupyter.errors import BackendUnavailable

VARIABLE = "CONTAINER_HOST"
_ROOTFUL = Path("/run/podman/podman.sock")


def find() -> Endpoint:
    """Return the service that this environment means; it need not be there.

    Raises:
        BackendUnavailable: `CONTAINER_HOST` names a socket in a way that is not supported.
    """
    if url := os.environ.get(VARIABLE):
        if url.startswith("/"):
            url = f"unix://{url}"
        if not url.startswith(("unix:///", "tcp://")):
            raise BackendUnavailable(
                f"{VARIABLE} is no address that bottles can use: {url!r}",
                hint="Set it to unix:///PATH or tcp://HOST:PORT; for a machine behind SSH, forward its socket here.",
            )
        return Endpoint(url, VARIABLE)
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    rootless = Path(runtime, "podman/podman.sock")
    if is_socket(rootless) or os.getuid():
        usual = _ROOTFUL if is_socket(_ROOTFUL) and not is_socket(rootless) else rootless
        return Endpoint(f"unix://{usual}", "the default socket")
    return Endpoint(f"unix://{_ROOTFUL}", "the default socket")
