"""What works on this engine, what does not, and how to mend it: the Docker part of `%bottle doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import docker

from bb_jupyter.backend.base import Check
from bb_jupyter.backend.shared import image_choice
from bb_jupyter.backend.shared.container_engine import endpoint, engine, image
from bb_jupyter.backend.shared.container_engine.prepare import plan_limits
from bb_jupyter.backend.spec import BottleSpec
from bb_jupyter.errors import BottleError
from bb_jupyter.manifest import Limits

#: The oldest engine that is supported: Docker 20.10 (Engine API 1.41).
_OLDEST = (20, 10)


def diagnose() -> list[Check]:
    """Ask the engine for everything that a bottle needs; an engine that does not answer is one finding."""
    try:
        client = engine.client()
        where = endpoint.find()
        info = engine.info()
        return [
            Check("docker engine", "ok", f"{where.url} ({where.origin}), {info.get('OperatingSystem', '')}"),
            _version(info),
            _security(info),
            *_limits(info),
            _runtime(info),
            _base_image(client),
        ]
    except BottleError as error:
        return [Check("docker engine", "failed", error.message, error.hint)]


def _version(info: Mapping[str, Any]) -> Check:
    version = str(info.get("ServerVersion", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < _OLDEST:
        return Check("docker version", "failed", version, "Docker 20.10 or newer is needed: upgrade the engine.")
    return Check("docker version", "ok", f"{version}, storage {info.get('Driver')}")


def _security(info: Mapping[str, Any]) -> Check:
    options = {str(option).removeprefix("name=").partition(",")[0] for option in info.get("SecurityOptions") or ()}
    rootless = "rootless, " if "rootless" in options else ""
    if "seccomp" not in options:
        return Check("docker isolation", "warning", f"{rootless}no seccomp filter", "Use an engine that has seccomp.")
    return Check("docker isolation", "ok", rootless + ", ".join(sorted(options - {"rootless"})))


def _limits(info: Mapping[str, Any]) -> list[Check]:
    wanted = plan_limits(Limits(cpus=1, memory=1 << 30, pids=100, disk=1 << 30), info)
    lacking = [limit.name for limit in wanted if limit.value and not limit.means]
    serious = [name for name in lacking if name != "disk"]
    detail = f"enforced: {', '.join(limit.name for limit in wanted if limit.value and limit.means) or 'none'}"
    if serious:
        fix = "Give the engine these cgroup controllers (rootless: systemd must delegate them)."
        return [Check("docker limits", "warning", f"{detail}; not: {', '.join(lacking)}", fix)]
    return [Check("docker limits", "ok", detail + ("; not: disk" if lacking else ""))]


def _runtime(info: Mapping[str, Any]) -> Check:
    runtime = str(info.get("DefaultRuntime", ""))
    if "runsc" in runtime or "gvisor" in runtime.lower():
        fix = 'Set "default-runtime": "runc" in /etc/docker/daemon.json.'
        return Check("docker runtime", "warning", f"{runtime}: its loopback is its own, a bottle gets no gateway", fix)
    return Check("docker runtime", "ok", runtime)


def _base_image(client: docker.APIClient) -> Check:
    name = image_choice.base_image(BottleSpec(name="doctor", backend="docker"))
    if image.inspect(client, name) is None:
        fix = f"docker pull {name}, or set {image_choice.VARIABLE} to an image that is here"
        return Check("docker image", "warning", f"{name} is not here; the first launch pulls it", fix)
    return Check("docker image", "ok", name)
