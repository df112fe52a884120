"""Decide what a Docker bottle will be on this engine: its image, its user, and which limits hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bb_jupyter.backend.plan import GUEST_HOME, GUEST_UID, GUEST_USER, LimitPlan, PlanBasis
from bb_jupyter.backend.shared.container_engine import image, image_build
from bb_jupyter.backend.shared.container_engine.bottle_plan import ContainerBottlePlan, container_name
from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.backend.shared.guest_user import guest_user, login
from bb_jupyter.backend.shared.image_choice import base_image, choose_dockerfile
from bb_jupyter.manifest import Limits, format_duration, format_size

#: Storage drivers that take a size for a container (overlay2 does on xfs with pquota, which the engine does not tell).
_SIZED_DRIVERS = frozenset({"btrfs", "zfs", "windowsfilter"})


def resolve_plan(engine: Engine, basis: PlanBasis) -> ContainerBottlePlan:
    """Make the plan.

    Raises:
        UsageError: the image's name, the Dockerfile or the user cannot be right.
        BackendUnavailable: the engine does not answer.
    """
    spec = basis.spec
    dockerfile = choose_dockerfile(spec, basis.agent_provision)
    base = base_image(spec)
    found = image.inspect(engine, base)
    image_id, root = _root(engine, base, found, dockerfile)
    return ContainerBottlePlan(
        **basis.fields(),
        root=root,
        user=user_in_words(spec.user),
        limits=plan_limits(spec.limits, engine.info),
        image=base,
        image_id=image_id,
        dockerfile=dockerfile,
        container=container_name(basis.slug),
        container_user=guest_user(spec.user),
        env={"HOME": GUEST_HOME, **login(spec.user), **basis.declared_env},
    )


def _root(engine: Engine, base: str, found: dict[str, Any] | None, dockerfile: Path | None) -> tuple[str, str]:
    """Return the id of the image to run, empty when it is not there yet, and what the preflight says of it."""
    if dockerfile is None:
        return (str(found["Id"]), f"image {base} ({_short(found)})") if found else ("", f"image {base}, to be pulled")
    built = image.inspect(engine, image_build.tag(dockerfile, base, str(found["Id"]))) if found else None
    text = f"image of {dockerfile} on {base}"
    return (str(built["Id"]), f"{text} ({_short(built)})") if built else ("", f"{text}, to be built")


def _short(found: Mapping[str, Any]) -> str:
    return str(found["Id"]).removeprefix("sha256:")[:12]


def user_in_words(user: str) -> str:
    """Return what the preflight says of who commands run as."""
    return f"{user or f'{GUEST_USER} ({GUEST_UID})'}, no capabilities, no new privileges"


def plan_limits(limits: Limits, info: Mapping[str, Any]) -> tuple[LimitPlan, ...]:
    """Say what enforces each limit on the engine that says *info* of itself."""
    group = f"cgroup v{info.get('CgroupVersion') or 1}"
    size_of = info.get("Driver") if info.get("Driver") in _SIZED_DRIVERS else ""
    return (
        LimitPlan("cpus", f"{limits.cpus:g}" if limits.cpus else "", group if info.get("CpuCfsQuota") else ""),
        LimitPlan(
            "memory", format_size(limits.memory) if limits.memory else "", group if info.get("MemoryLimit") else ""
        ),
        LimitPlan("pids", str(limits.pids or ""), group if info.get("PidsLimit") else ""),
        LimitPlan("disk", format_size(limits.disk) if limits.disk else "", str(size_of)),
        LimitPlan("timeout", format_duration(limits.timeout) if limits.timeout else "", "each command"),
    )


def enforced(plan: ContainerBottlePlan, name: str) -> bool:
    """Whether the engine enforces the limit called *name*, and there is one."""
    return any(limit.name == name and limit.value and limit.means for limit in plan.limits)
