"""Where a container engine listens."""

from __future__ import annotations

import contextlib
import socket
import stat
from dataclasses import dataclass, field
from pathlib import Path


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
        """Whether something listens there; an engine that is not behind a Unix socket is not asked, and counts."""
        path = self.socket_path
        if path is None:
            return True
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
            return True
        return False


def is_socket(path: Path) -> bool:
    """Whether *path* is a Unix socket that this user may see."""
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False
