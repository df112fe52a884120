"""What is particular to podman (tried with 4.3.1): where its service answers otherwise than Docker, what it lacks."""

from __future__ import annotations

import hashlib
import resource
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docker.errors import APIError

from bb_jupyter.backend.base import Check
from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.errors import BackendUnavailable
from bb_jupyter.home import bot_bottle_home, private_dir

#: Version of podman's own API, which has the requests that the compatible one lacks.
_LIBPOD = "v4.0.0/libpod"
#: How podman says that a container does not run, or ended while a request was under way.
_GONE = ("container state improper", "no such container", "copier subprocess")
#: Podman's own defaults for a container's limits, which a rootful service sets where a request names another limit.
_DEFAULT_LIMIT = 1 << 20
_PID_MAX = Path("/proc/sys/kernel/pid_max")
#: How often a removal is tried while a container that shares the bottle's network is just being made, and the pause.
_TRIES, _PAUSE = 40, 0.05
#: Words of a refusal that is over in a moment: the container stops just now, or what depends on it goes.
_IN_TRANSITION = ("depend", "no such container", "in use", "container state improper")


class PodmanEngine(Engine):
    """A podman service, 4.3 or newer."""

    backend = "podman"
    title = "podman service"
    command = "podman"
    hint_permission = "Use your own service: `systemctl --user start podman.socket`; or choose another --backend."
    hint_start = (
        "Start it (`systemctl --user start podman.socket`, or `podman system service --time=0`), set CONTAINER_HOST, "
        "or choose another --backend."
    )
    hint_runtime = 'Set runtime = "crun" in containers.conf.'
    oldest = (4, 3)
    healthcheck = None  # with one, even "NONE", podman wants a timer of systemd
    joins_unmade = False
    #: What podman adds to the error output of a command whose input it did not deliver to the end.
    noise = rb"Error: (?:read|write) unixpacket @->\S+/attach: [^\n]*\n?"

    @property
    def rootless(self) -> bool:
        """Whether the service is an ordinary user's."""
        return bool(self.info.get("Rootless")) or any(
            "rootless" in str(option) for option in self.info.get("SecurityOptions") or ()
        )

    @property
    def can_pause(self) -> bool:
        """See `Engine.can_pause`: without root, only cgroup v2 freezes processes."""
        return not (self.rootless and str(self.info.get("CgroupVersion")) == "1")

    def security_options(self) -> list[str]:
        """See `Engine.security_options`: podman takes a profile as a file of the service's machine alone."""
        profile = self.seccomp_profile()
        if not profile or self.endpoint.socket_path is None:
            return []
        return [f"seccomp={_profile_file(profile)}"]

    def ulimits(self) -> list[dict[str, Any]]:
        """See `Engine.ulimits`.

        Podman as root adds its own defaults for files and processes where a request names another limit only, and fails
        where its machine allows it less.  This process's own bounds are allowed there.
        """
        limits = super().ulimits()
        if not self.rootless and self.endpoint.socket_path is not None:
            limits += bounds()
        return limits

    def limit_pids(self, container: str, limit: int) -> None:
        """See `Engine.limit_pids`: the compatible API has no update."""
        self.client._raise_for_status(
            self.client._post_json(self._libpod(f"containers/{container}/update"), data={"pids": {"limit": limit}})
        )

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """See `Engine.create_volume`: a volume that a mount makes has no labels."""
        self.client.create_volume(name, labels=dict(labels))

    def remove(self, container: str) -> None:
        """See `Engine.remove`: podman keeps a container as long as another one shares its network.

        The others are removed at the same time by requests of their own, so that an answer may be about one of them:
        "no such container" does not mean that this one is gone.
        """
        with self.errors(f"remove container {container}"):
            for _ in range(_TRIES):
                url = self._libpod(f"containers/{quote(container)}?force=true&depend=true&volumes=true")
                answer = self.client.delete(url, timeout=self.client.timeout)
                if not self._exists(container):
                    return
                if not answer.ok and not any(words in answer.text for words in _IN_TRANSITION):
                    break
                time.sleep(_PAUSE)
            self.client._raise_for_status(answer)
            raise BackendUnavailable(f"podman did not remove container {container}", hint="`%bottle cleanup` tries it.")

    def _exists(self, container: str) -> bool:
        url = self._libpod(f"containers/{quote(container)}/exists")
        return bool(self.client.get(url, timeout=self.client.timeout).status_code != 404)

    def says_image_is_gone(self, text: str) -> bool:
        """See `Engine.says_image_is_gone`: podman takes the id of an image that is gone for a name."""
        return "cannot specify 64-byte hexadecimal strings" in text or "image not known" in text

    def is_gone(self, error: Exception) -> bool:
        """See `Engine.is_gone`."""
        return super().is_gone(error) or (isinstance(error, APIError) and any(words in str(error) for words in _GONE))

    def checks(self) -> list[Check]:
        """See `Engine.checks`."""
        found = []
        if self.endpoint.socket_path is None:
            detail = "the service is elsewhere: bottles have its own filter of system calls, not that of bb_jupyter"
            found.append(Check("system calls", "warning", detail, "Use a service on this machine."))
        if not self.can_pause:
            detail = "rootless on cgroup v1: no limits, and a bottle is not paused while a branch copies its files"
            found.append(Check("cgroup", "warning", detail, "Boot with cgroup v2, or use root's service."))
        return found

    def _libpod(self, path: str) -> str:
        return f"{self.client.base_url}/{_LIBPOD}/{path}"


def bounds() -> list[dict[str, Any]]:
    """Return the most open files and processes that this machine lets a container of root's podman have."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    # Podman itself lowers its limit of processes to as many as the kernel counts.
    most = {"nofile": files, "nproc": min(processes, int(_PID_MAX.read_text()), key=_unlimited_last)}
    return [
        {"Name": name, "Soft": limit, "Hard": limit}
        for name, limit in ((name, min(limit, _DEFAULT_LIMIT, key=_unlimited_last)) for name, limit in most.items())
    ]


def _unlimited_last(limit: int) -> tuple[bool, int]:
    return limit == resource.RLIM_INFINITY, limit


def _profile_file(profile: str) -> Path:
    """Write a profile where the service reads it, once for the same content."""
    folder = private_dir(bot_bottle_home() / "seccomp")
    path = folder / f"{hashlib.sha256(profile.encode()).hexdigest()[:24]}.json"
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            file.write(profile)
        Path(file.name).replace(path)
    return path
