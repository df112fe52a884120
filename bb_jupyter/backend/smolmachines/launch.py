"""Start a bottle: make its machine and its home, and lead its network to the gateway (in the cloud, restrict it).

Requests that make a machine run on a thread of their own, one after the other.  An interrupt ends the waiting but not
the request, and the removal follows the request: an interrupt at any moment leaves nothing behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bb_jupyter.agent.credentials import resolve_token
from bb_jupyter.backend import state
from bb_jupyter.backend.base import OnProgress, Progress
from bb_jupyter.backend.shared.labels import of_plan
from bb_jupyter.backend.shared.serial_executor import SerialExecutor
from bb_jupyter.backend.smolmachines import image, labels, prepare, sdk, shell, transfer
from bb_jupyter.backend.smolmachines.bottle import SmolmachinesBottle
from bb_jupyter.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from bb_jupyter.backend.smolmachines.egress_interceptor import Interceptor
from bb_jupyter.errors import BackendUnavailable
from bb_jupyter.gateway import GATE_ADDRESS
from bb_jupyter.process import deferred_interrupts
from bb_jupyter.text.visible import last_line

if TYPE_CHECKING:
    from smol import Machine, MachineConfig, ResourceSpec

Provision = Callable[[SmolmachinesBottle], None]
#: The one name that a machine may resolve; it belongs to no host (RFC 6761).
_NO_NAME = "bottle.invalid"
_GIB = 1 << 30
#: Seconds until a machine must be ready, time to pull a large image included.
_READY = 600.0


@contextmanager
def launch(plan: SmolmachinesBottlePlan, provision: Provision, on_progress: OnProgress) -> Iterator[SmolmachinesBottle]:
    """Start the bottle of *plan*; leaving the context removes it, unless it is kept.

    Raises:
        UsageError: the image cannot be used.
        BackendUnavailable: this host cannot run machines, or the cloud refuses.
        BuildFailed: an image cannot be built.
    """
    state.add_details(plan.slug, target=plan.target, **({"attach": labels.to_attach(plan)} if plan.spec.keep else {}))
    source = image.obtain(plan, on_progress)
    with deferred_interrupts.UninterruptibleExitStack() as stack:
        steps = stack.enter_context(SerialExecutor())
        on_progress(Progress("start"))
        interceptor = Interceptor.open(plan.slug) if plan.target == "local" else None
        if interceptor:
            stack.callback(interceptor.close)
        stack.callback(lambda: steps.run(lambda: sdk.remove_machine(plan.target, plan.machine)))
        machine = steps.run(lambda: _machine(plan, source, interceptor))
        state.add_details(plan.slug, id=machine.id, branch=bool(plan.source))
        bottle = SmolmachinesBottle(plan, machine, interceptor)
        stack.callback(bottle.broker.close)
        stack.callback(bottle.network.close)
        bottle.broker.begin()
        steps.run(lambda: set_up(bottle))
        if plan.home_archive:
            transfer.unpack_home(bottle, plan.home_archive)
        for copy in plan.copies:
            on_progress(Progress("copy in", line=str(copy)))
            transfer.copy_in(bottle, copy)
        provision(bottle)
        if plan.spec.keep:
            stack.pop_all()
            steps.close()
            # The processes on this host end with this one; `attach` starts them again.
            if interceptor:
                stack.callback(interceptor.close)
            stack.callback(bottle.broker.close)
            stack.callback(bottle.network.close)
        yield bottle


def _machine(plan: SmolmachinesBottlePlan, source: str, interceptor: Interceptor | None) -> Machine:
    from smol import Machine

    with sdk.errors(f"start the machine of bottle '{plan.spec.name}'"):
        if plan.source:
            return Machine.open(plan.source, sdk.connection(plan.target)).branch(plan.machine, branchable=True)
        return Machine.create(config(plan, source, interceptor), sdk.connection(plan.target))


def config(plan: SmolmachinesBottlePlan, source: str, interceptor: Interceptor | None) -> MachineConfig:
    """Return the machine's whole configuration.

    Args:
        plan: what to launch.
        source: the image, as the target takes it.
        interceptor: the process that answers a local machine's connections.

    Raises:
        ManifestError: a credential is unset.
    """
    from smol import CredentialSpec, MachineConfig

    return MachineConfig(
        name=plan.machine,
        image=source,
        labels=of_plan(plan),
        command=["/bin/sh", "-c", "while :; do sleep 2147483647 & wait $!; done"],
        resources=_resources(plan),
        persistent=plan.spec.keep,
        detach=plan.spec.keep,
        ready_timeout_seconds=_READY,
        branchable=plan.target == "cloud" or None,
        egress_interceptor=interceptor.binding if interceptor else None,
        credentials=[
            CredentialSpec(each.name, each.env_var, [each.host], value=resolve_token(each.token_ref))
            for each in plan.credentials
        ]
        or None,
    )


def _resources(plan: SmolmachinesBottlePlan) -> ResourceSpec:
    from smol import ResourceSpec

    limits = plan.spec.limits
    disk = math.ceil(limits.disk / _GIB) if limits.disk else None
    resources = ResourceSpec(
        cpus=math.ceil(limits.cpus) if limits.cpus else None, memory_mb=prepare.memory_mb(limits), storage_gb=disk
    )
    if plan.target == "local":
        resources.overlay_gb = disk
        # Only the address of the egress interceptor can be dialled, and no name of a host can be resolved.
        resources.allow_cidrs, resources.allow_hosts = [f"{GATE_ADDRESS}/32"], [_NO_NAME]
    elif plan.allow_hosts:
        resources.allow_hosts = list(plan.allow_hosts)
    else:
        resources.network = False
    return resources


def set_up(bottle: SmolmachinesBottle) -> None:
    """Set the machine up: the agent's user and home, a folder for input, the names of the gateway.

    Raises:
        BackendUnavailable: it has no shell, or its disk cannot be written.
    """
    from smol import ExecOptions

    hosts = prepare.gate_hosts() if bottle.plan.target == "local" else ""
    with sdk.errors(f"prepare the machine of bottle '{bottle.name}'", name=bottle.name):
        done = bottle.machine.exec(shell.setup(hosts), ExecOptions(user=transfer.ROOT, timeout=sdk.SHORT))
    if done.exit_code:
        why = last_line(done.stderr_bytes, f"exit status {done.exit_code}")
        raise BackendUnavailable(
            f"image {bottle.plan.image} cannot be a bottle: {why}", hint="It needs /bin/sh, base64 and tar."
        )
