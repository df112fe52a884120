"""Start a bottle: one container without a network, hardened, its home in the image already.

Requests that make something run in a thread of their own, one after the other: an interrupt ends the waiting, never the
request half-way, and the removal comes after it.  So nothing is left, whatever moment is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound

from bb_jupyter.agent.provisioning import ca_command
from bb_jupyter.backend import state
from bb_jupyter.backend.base import OnProgress, Progress
from bb_jupyter.backend.shared.bottle_broker import has_broker
from bb_jupyter.backend.shared.container_engine import (
    branch,
    endpoint,
    engine,
    etc_hosts,
    gateway_image,
    guest_image,
    image,
    labels,
    seccomp,
    transfer,
)
from bb_jupyter.backend.shared.container_engine.bottle import ContainerBottle
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan
from bb_jupyter.backend.shared.container_engine.prepare import enforced
from bb_jupyter.backend.shared.container_engine.removal import remove
from bb_jupyter.backend.shared.serial_executor import SerialExecutor
from bb_jupyter.errors import UsageError
from bb_jupyter.process import deferred_interrupts

#: PID 1: reaps what loses its parent (`wait` does), and on USR1 kills all other processes of its user without forking,
#: for a bottle so full that no command can start (tried: dash, busybox, bash).  No other signal from inside reaches it.
INIT = ["/bin/sh", "-c", 'trap "kill -9 -1" USR1; while :; do sleep 2147483647 & wait $!; done']

Provision = Callable[[ContainerBottle], None]


@contextmanager
def launch(plan: ContainerBottlePlan, provision: Provision, on_progress: OnProgress) -> Iterator[ContainerBottle]:
    """Start the bottle of *plan*; leaving the context removes it, unless it is kept.

    Raises:
        UsageError: the image cannot be a bottle's.
        BackendUnavailable: the engine refuses, or an image cannot be pulled.
        BuildFailed: an image cannot be built.
    """
    client = engine.client()
    _remember_engine(plan)
    image_id = image.obtain(client, plan, on_progress)
    trusted = plan.egress_plan is not None or has_broker(plan)
    gateway_id = gateway_image.obtain(client, on_progress) if trusted else ""
    with deferred_interrupts.UninterruptibleExitStack() as stack:
        steps = stack.enter_context(SerialExecutor())
        on_progress(Progress("start"))
        bottle = ContainerBottle(plan, client)
        stack.callback(bottle.gateways.wait_removed)
        stack.callback(bottle.relay.wait_removed)
        stack.callback(bottle.broker.close)
        if plan.snapshot:
            stack.callback(lambda: steps.run(lambda: branch.remove_image(client, plan.snapshot)))
        stack.callback(lambda: steps.run(lambda: remove(client, plan.container)))
        stack.callback(bottle.gateways.begin_removal)  # at the same time as the bottle's own
        stack.callback(bottle.relay.begin_removal)
        stack.callback(bottle.network.close)
        stack.callback(bottle.broker.begin_close)
        bottle.broker.begin()
        if plan.egress_plan is not None:
            bottle.gateways.prepare(gateway_id)
        steps.run(lambda: _create(client, plan, image_id))
        for copy in plan.copies:
            on_progress(Progress("copy in", line=str(copy)))
            transfer.copy_in(client, plan.container, plan.container_user, copy)
        steps.run(lambda: _start(client, plan))
        if plan.egress_plan is not None:
            stack.callback(bottle.expect_nothing)
            bottle.expect(ca_command(plan.guest_home), steps)  # the certificate is still being made
        bottle.gateways.hand_off()
        bottle.relay.serve()
        names_written = steps.begin(lambda: etc_hosts.write(client, plan.container))
        provision(bottle)
        names_written.result()
        bottle.expect_nothing()
        if plan.spec.keep:
            stack.pop_all()
            steps.close()
            stack.callback(bottle.network.release)
            stack.callback(bottle.broker.release)
        yield bottle


def _create(client: docker.APIClient, plan: ContainerBottlePlan, image_id: str) -> None:
    with engine.errors(f"create bottle '{plan.spec.name}'"):
        config = _container(client, plan, plan.snapshot or guest_image.tag(image_id))
        try:
            made = client.create_container_from_config(config, plan.container)
        except ImageNotFound:
            guest_image.make(client, image_id)
            made = client.create_container_from_config(config, plan.container)
    state.add_details(plan.slug, container=made["Id"])  # by which its processes are known in /proc


def _start(client: docker.APIClient, plan: ContainerBottlePlan) -> None:
    with engine.errors(f"start bottle '{plan.spec.name}'"):
        try:
            client.start(plan.container)
        except APIError as error:
            text = engine.text_of(error)
            if "/bin/sh" in text and "no such file" in text:
                raise UsageError(f"image {plan.image} has no /bin/sh", hint="A bottle needs a shell.") from None
            if "unable to find user" in text:
                raise UsageError(
                    f"image {plan.image} has no user '{plan.spec.user}'", hint="Write --user UID."
                ) from None
            raise


def _container(client: docker.APIClient, plan: ContainerBottlePlan, image_tag: str) -> dict[str, Any]:
    """Return the container's whole configuration."""
    config: dict[str, Any] = client.create_container_config(
        image_tag,
        INIT[1:],
        entrypoint=INIT[:1],  # whatever the image has
        hostname=plan.spec.name,
        user=plan.container_user,
        environment=plan.env,
        working_dir=plan.guest_home,
        network_disabled=True,
        stop_signal="SIGKILL",
        healthcheck={"test": ["NONE"]},
        labels=labels.of_plan(plan),
        host_config=client.create_host_config(
            network_mode="none",
            extra_hosts=dict.fromkeys(
                etc_hosts.SERVICES, "127.0.0.1"
            ),  # for engines that write /etc/hosts all the same
            cap_drop=["ALL"],
            security_opt=["no-new-privileges", *seccomp.options(engine.info())],
            ipc_mode="private",
            # PID 1's output is open to every process of the bottle: a log of it would fill the engine's disk.
            log_config={"Type": "none"},
            ulimits=[{"Name": "core", "Soft": 0, "Hard": 0}],
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


def _remember_engine(plan: ContainerBottlePlan) -> None:
    """Write down which engine has the bottle: seen from another one it must not look gone."""
    state.add_details(plan.slug, engine=endpoint.find().url)
