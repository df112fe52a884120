"""Where the Docker engine is: `DOCKER_HOST`, then a Docker context, then the usual sockets.  Asks no daemon."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from bb_jupyter.backend.shared.container_engine.endpoint import Endpoint, is_socket
from bb_jupyter.errors import BackendUnavailable

_ROOTFUL = Path("/var/run/docker.sock")
#: What `DOCKER_HOST` may hold: a path, an URL that the SDK knows, or a host and its port.
_ADDRESS = re.compile(r"/.+|(unix|tcp|ssh|https?|http\+unix|npipe)://.+|[\w.\-]+:\d+", re.ASCII)


def find() -> Endpoint:
    """Return the engine that this environment means; it need not be there.

    Raises:
        BackendUnavailable: `DOCKER_HOST` is no address; the chosen context does not exist or names no engine.
    """
    if url := os.environ.get("DOCKER_HOST"):
        return Endpoint(_spelled_out(url), "DOCKER_HOST", tls_env=bool(os.environ.get("DOCKER_CERT_PATH")))
    context = os.environ.get("DOCKER_CONTEXT") or _config().get("currentContext") or "default"
    if context != "default":
        return Endpoint(_url_of(context), f"Docker context '{context}'", context=context)
    return Endpoint(f"unix://{_usual_socket()}", "the default socket")


def _spelled_out(url: str) -> str:
    if not _ADDRESS.fullmatch(url):
        raise BackendUnavailable(
            f"DOCKER_HOST is no address: {url!r}", hint="Set it to unix:///PATH or tcp://HOST:PORT, or unset it."
        )
    return f"unix://{url}" if url.startswith("/") else url


def _usual_socket() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    rootless = [Path(runtime, "docker.sock")] if runtime else []
    known = [_ROOTFUL, *rootless, Path.home() / ".docker/run/docker.sock"]
    return next((path for path in known if is_socket(path)), _ROOTFUL)


def _config() -> dict[str, Any]:
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    try:
        found = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _url_of(context: str) -> str:
    from docker.context import ContextAPI

    try:
        found = ContextAPI.get_context(context)
    except Exception as error:  # whatever is wrong with files that are not ours
        raise BackendUnavailable(f"cannot read the Docker context '{context}': {error}", hint=_CONTEXT_HINT) from None
    if found is None or not found.Host:
        raise BackendUnavailable(f"there is no Docker context '{context}'", hint=_CONTEXT_HINT)
    return str(found.Host)


_CONTEXT_HINT = "`docker context ls` lists them; DOCKER_HOST and DOCKER_CONTEXT choose."
