"""The bottle's own container: its hardening, its limits, and the names that it knows.

It is made with `NetworkDisabled`: its network namespace holds `lo` and nothing else, and the engine does not set it up,
which would take it as long as all the rest of a start (130 of 240 ms of processor time measured on 20.10).  Docker does
not write the files of its resolver then.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from typing import Any

from docker.errors import APIError, ImageNotFound

from bb_jupyter.backend import state
from bb_jupyter.backend.shared.container_engine import guest_image, labels
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.container_engine.engine import Engine, text_of
from bb_jupyter.backend.shared.container_engine.execution import NO_USER
from bb_jupyter.backend.shared.container_engine.prepare import enforced
from bb_jupyter.errors import UsageError

#: PID 1: reaps what loses its parent (`wait` does), and on USR1 kills all other processes of its user without forking,
#: for a bottle so full that no command can start (tried: dash, busybox, bash).  No other signal from inside reaches it.
INIT = ["/bin/sh", "-c", 'trap "kill -9 -1" USR1; while :; do sleep 2147483647 & wait $!; done']
#: Names of the gateway's and the broker's services, whose sockets listen on the bottle's loopback.
SERVICES = ("egress", "git-gate", "supervise")
#: File → by which key an engine tells that it has mounted its own there, and our content.
_FILES = {
    "etc/hosts": (
        "HostsPath",
        "".join(f"127.0.0.1\t{name}\n" for name in ("localhost", *SERVICES)) + "::1\tlocalhost\n",
    ),
    # Nobody answers there, so that a program that asks for another name learns at once that there is none.
    "etc/resolv.conf": ("ResolvConfPath", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
}


def create(engine: Engine, plan: ContainerBottlePlan, image_id: str) -> None:
    """Create the container of *plan* from the guest image of *image_id*, which is made where it is missing.

    Raises:
        BackendUnavailable: the engine refuses.
        UsageError: the image cannot be a bottle's.
    """
    with engine.errors(f"create bottle '{plan.spec.name}'"):
        config = _configuration(engine, plan, plan.snapshot or guest_image.tag(image_id))
        try:
            made = engine.client.create_container_from_config(config, plan.container)
        except ImageNotFound:
            guest_image.make(engine, image_id)
            made = engine.client.create_container_from_config(config, plan.container)
    state.add_details(plan.slug, container=made["Id"])  # by which its processes are known in /proc


def start(engine: Engine, plan: ContainerBottlePlan) -> None:
    """Start the container of *plan*.

    Raises:
        BackendUnavailable: the engine refuses.
        UsageError: the image has no shell, or not the user.
    """
    with engine.errors(f"start bottle '{plan.spec.name}'"):
        try:
            engine.client.start(plan.container)
        except APIError as error:
            text = text_of(error)
            if "/bin/sh" in text and ("no such file" in text.lower() or "not found" in text):
                raise UsageError(f"image {plan.image} has no /bin/sh", hint="A bottle needs a shell.") from None
            if NO_USER in text:
                raise UsageError(
                    f"image {plan.image} has no user '{plan.spec.user}'", hint="Write --user UID."
                ) from None
            raise


def write_hosts(engine: Engine, container: str) -> None:
    """Write the files of a container's resolver, unless the engine has done it.

    Raises:
        BackendUnavailable: the engine refuses.
    """
    with engine.errors("write the bottle's /etc/hosts"):
        found = engine.client.inspect_container(container)
        missing = {path: text for path, (key, text) in _FILES.items() if not found.get(key)}
        if missing:
            engine.client.put_archive(container, "/", _archive(missing))


def _configuration(engine: Engine, plan: ContainerBottlePlan, image_tag: str) -> dict[str, Any]:
    """Return the container's whole configuration."""
    config: dict[str, Any] = engine.client.create_container_config(
        image_tag,
        INIT[1:],
        entrypoint=INIT[:1],  # whatever the image has
        hostname=plan.spec.name,
        user=plan.container_user,
        environment=plan.env,
        working_dir=plan.guest_home,
        network_disabled=True,
        stop_signal="SIGKILL",
        healthcheck=engine.healthcheck,
        labels=labels.of_plan(plan),
        host_config=engine.client.create_host_config(
            network_mode="none",
            extra_hosts=dict.fromkeys(SERVICES, "127.0.0.1"),  # for engines that write /etc/hosts all the same
            cap_drop=["ALL"],
            security_opt=["no-new-privileges", *engine.security_options()],
            ipc_mode="private",
            # PID 1's output is open to every process of the bottle: a log of it would fill the engine's disk.
            log_config={"Type": "none"},
            ulimits=engine.ulimits(),
            **_limits(plan),
        ),
    )
    return config


def _limits(plan: ContainerBottlePlan) -> dict[str, Any]:
    """Return the limits that this engine enforces, as the host configuration names them."""
    limits = plan.spec.limits
    found: dict[str, Any] = {}
    if limits.memory and enforced(plan, "memory"):
        # Swap counts into the same limit; /dev/shm is memory, too, and needs more than the engine's 64 MiB.
        found |= {"mem_limit": limits.memory, "memswap_limit": limits.memory, "shm_size": limits.memory // 2}
    if limits.pids and enforced(plan, "pids"):
        found["pids_limit"] = limits.pids
    if limits.cpus and enforced(plan, "cpus"):
        found["nano_cpus"] = int(limits.cpus * 1e9)
    if limits.disk and enforced(plan, "disk"):
        found["storage_opt"] = {"size": str(limits.disk)}
    return found


def _archive(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, text in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(text), 0o644
            archive.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()
