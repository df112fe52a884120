"""Which engine: `DOCKER_HOST`, then a Docker context, then the usual sockets.  Asks no daemon."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bb_jupyter.errors import BackendUnavailable

_ROOTFUL = Path("/var/run/docker.sock")
#: What `DOCKER_HOST` may hold: a path, an URL that the SDK knows, or a host and its port.
_ADDRESS = re.compile(r"/.+|(unix|tcp|ssh|https?|http\+unix|npipe)://.+|[\w.\-]+:\d+", re.ASCII)


@dataclass(frozen=True)
class Endpoint:
    """Where an engine listens.

    Attributes:
        url: as `DOCKER_HOST` writes it.
        origin: what named it, for `doctor` and errors.
        context: the Docker context that holds its TLS material; empty for none.
        tls_env: `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` apply.
    """

    url: str
    origin: str
    context: str = ""
    tls_env: bool = field(default=False)

    @property
    def socket_path(self) -> Path | None:
        """The Unix socket's path; `None` for an engine that is reached otherwise."""
        return Path(self.url.removeprefix("unix://")) if self.url.startswith("unix://") else None

    @property
    def connectable(self) -> bool:
        """Whether something listens there, as far as one can tell at once; an engine elsewhere is believed in."""
        path = self.socket_path
        if path is None:
            return True
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
            return True
        return False


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
    return next((path for path in known if _is_socket(path)), _ROOTFUL)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


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
