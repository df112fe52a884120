"""What is particular to a Docker engine: how its connection is secured, and that it takes a seccomp profile as text."""

from __future__ import annotations

import docker
from docker.context import ContextAPI

from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.errors import BackendUnavailable


class DockerEngine(Engine):
    """A Docker engine, 20.10 or newer."""

    backend = "docker"
    title = "Docker engine"
    command = "docker"
    hint_permission = "Join the group: `sudo usermod -aG docker $USER`, then log in again; or choose another --backend."
    hint_start = "Start it (`sudo systemctl start docker`), set DOCKER_HOST, or choose another --backend."
    hint_runtime = 'Set "default-runtime": "runc" in /etc/docker/daemon.json.'
    #: Engine API 1.41.
    oldest = (20, 10)

    @property
    def client(self) -> docker.APIClient:
        """See `Engine.client`; an engine over SSH is refused."""
        where = self.endpoint
        if where.url.startswith("ssh://"):
            raise BackendUnavailable(
                f"{where.origin} is {where.url}: engines over SSH need a tunnel",
                hint=f"Run `ssh -nNT -L /tmp/engine.sock:/var/run/docker.sock {where.url[6:]}` and set "
                "DOCKER_HOST=unix:///tmp/engine.sock.",
            )
        return super().client

    def _tls(self) -> docker.tls.TLSConfig | bool:
        if self.endpoint.tls_env:
            return docker.utils.kwargs_from_env().get("tls", False)
        if not self.endpoint.context:
            return False
        return ContextAPI.get_context(self.endpoint.context).TLSConfig or False

    def security_options(self) -> list[str]:
        """See `Engine.security_options`."""
        profile = self.seccomp_profile()
        return [f"seccomp={profile}"] if profile else []
