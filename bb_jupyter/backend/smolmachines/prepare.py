"""Make the plan of a bottle in a microVM: its target, image, user and limits."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

from bb_jupyter.backend.plan import GUEST_HOME, GUEST_UID, GUEST_USER, LimitPlan, PlanBasis
from bb_jupyter.backend.shared.guest_user import guest_user, login
from bb_jupyter.backend.shared.image_choice import base_image, choose_dockerfile
from bb_jupyter.backend.smolmachines import kvm, sdk
from bb_jupyter.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan, machine_name
from bb_jupyter.backend.smolmachines.cloud_network import plan_cloud_network
from bb_jupyter.errors import UsageError
from bb_jupyter.gateway import GATE_ADDRESS
from bb_jupyter.manifest import Limits, format_duration, format_size

#: Memory of a machine without a limit, in MiB; the SDK's own default is several GiB.
DEFAULT_MEMORY = 2048
_GIB = 1 << 30


def resolve_plan(basis: PlanBasis) -> SmolmachinesBottlePlan:
    """Make the plan.

    Raises:
        UsageError: the spec asks for something that machines lack or the cloud cannot enforce.
        BackendUnavailable: the SDK or the key is missing.
    """
    sdk.require()
    where = sdk.target()
    sdk.connection(where)
    spec = basis.spec
    plan = SmolmachinesBottlePlan(
        **basis.fields(),
        root="",
        user=f"{spec.user or f'{GUEST_USER} ({GUEST_UID})'} in a virtual machine of its own",
        limits=plan_limits(spec.limits),
        target=where,
        machine=machine_name(basis.slug),
        machine_user=guest_user(spec.user),
        env={"HOME": GUEST_HOME, "LANG": "C.UTF-8", **login(spec.user), **basis.declared_env},
    )
    return _in_cloud(plan, basis) if where == "cloud" else _here(plan)


def _in_cloud(plan: SmolmachinesBottlePlan, basis: PlanBasis) -> SmolmachinesBottlePlan:
    spec = plan.spec
    network = plan_cloud_network(basis)
    dockerfile = choose_dockerfile(spec, plan.agent_provision)
    named = spec.image or spec.manifest.image
    if dockerfile and not named:
        raise UsageError(
            f"the smol cloud builds no Dockerfile: {dockerfile}",
            hint="Build it, push it to a registry that the cloud reaches, and name it: --image REGISTRY/NAME:TAG.",
        )
    image = base_image(spec)
    as_it_is = (f"image {image} runs unchanged: it must contain what {dockerfile} would install",) if dockerfile else ()
    bound = {credential.env_var for credential in network.credentials}
    place = os.environ.get(sdk.URL) or "its usual address"
    return replace(
        plan,
        root=f"image {image}, in the smol cloud ({place}), which can see all that happens in the bottle",
        image=image,
        env={name: value for name, value in plan.env.items() if name not in bound},
        allow_hosts=network.allow_hosts,
        credentials=network.credentials,
        warnings=network.warnings + as_it_is,
    )


def _here(plan: SmolmachinesBottlePlan) -> SmolmachinesBottlePlan:
    spec = plan.spec
    image = base_image(spec)
    dockerfile = choose_dockerfile(spec, plan.agent_provision)
    own = is_path(image)
    if own and not Path(image).expanduser().exists():
        raise UsageError(f"there is no image {image}", hint="Name a docker-archive, a root file system, or an image.")
    if own and dockerfile:
        raise UsageError(f"a Dockerfile cannot be built on the file {image}", hint="Name an image of a registry.")
    warnings = ["the bottle has no network while no kernel is attached to it"] if spec.keep and plan.egress_plan else []
    if why := kvm.without_hardware():
        warnings.append(f"{why}; it will probably not boot (see `%bottle doctor`)")
    return replace(
        plan,
        root=f"image {f'of {dockerfile} on {image}' if dockerfile else image}, in a virtual machine on this host",
        image=str(Path(image).expanduser().absolute()) if own else image,
        dockerfile=dockerfile,
        warnings=tuple(warnings),
    )


def is_path(image: str) -> bool:
    """Whether *image* names a file or folder of this host: a docker-archive or a root file system."""
    return image.startswith(("/", "./", "../", "~"))


def plan_limits(limits: Limits) -> tuple[LimitPlan, ...]:
    """Return what enforces each limit: for most, the virtual hardware."""
    cpus = f"{math.ceil(limits.cpus)}" if limits.cpus else ""
    disk = format_size(limits.disk) if limits.disk else ""
    return (
        LimitPlan("cpus", cpus, "virtual processors"),
        LimitPlan("memory", format_size(memory_mb(limits) << 20), "virtual machine"),
        LimitPlan("pids", str(limits.pids or ""), "rlimit of its user"),
        # Disks come in whole GiB.
        LimitPlan("disk", disk, "virtual disk" if limits.disk and limits.disk % _GIB == 0 else ""),
        LimitPlan("timeout", format_duration(limits.timeout) if limits.timeout else "", "each command"),
    )


def memory_mb(limits: Limits) -> int:
    """Return the memory of the machine in MiB."""
    return math.ceil(limits.memory / (1 << 20)) if limits.memory else DEFAULT_MEMORY


def gate_hosts() -> str:
    """Return the line of /etc/hosts by which a local machine finds the gateway's services."""
    return f"{GATE_ADDRESS} egress git-gate supervise"
