"""Decide what a bubblewrap bottle will be on this host: its root, its user, and which limits hold."""

from __future__ import annotations

import os
import resource

from bb_jupyter.backend.bubblewrap import bwrap, cgroup, seccomp, users
from bb_jupyter.backend.bubblewrap.bottle_plan import BubblewrapBottlePlan
from bb_jupyter.backend.plan import GUEST_HOME, GUEST_UID, GUEST_USER, LimitPlan, PlanBasis
from bb_jupyter.backend.spec import BottleSpec
from bb_jupyter.errors import BackendUnavailable, UsageError
from bb_jupyter.manifest import Limits, format_duration, format_size


def resolve_plan(basis: PlanBasis) -> BubblewrapBottlePlan:
    """Make the plan.

    Raises:
        UsageError: the spec asks for something that this backend lacks.
        BackendUnavailable: this host does not permit user namespaces.
    """
    spec = basis.spec
    _refuse_unsupported(spec)
    version = bwrap.find()[1]
    if reason := bwrap.closed():
        raise BackendUnavailable(f"bubblewrap cannot work here: {reason.reason}", hint=reason.fix)
    limits, rlimits = plan_limits(spec.limits)
    host_uid = users.host_uid(basis.slug)
    return BubblewrapBottlePlan(
        **basis.fields(),
        root=f"this host's programs, read-only (bubblewrap {version}); home and /tmp in memory, gone with the bottle",
        user=f"{GUEST_USER} ({GUEST_UID}), no capabilities, no new privileges" + _seccomp(),
        limits=limits,
        warnings=_warnings(host_uid),
        rlimits=rlimits,
        host_uid=host_uid,
        env={
            "PATH": bwrap.search_path(),
            "HOME": GUEST_HOME,
            "USER": GUEST_USER,
            "LOGNAME": GUEST_USER,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            **basis.declared_env,
        },
    )


def plan_limits(limits: Limits) -> tuple[tuple[LimitPlan, ...], dict[int, int]]:
    """Return what enforces each limit here, and the rlimits that stand in where no control group can be made."""
    parents = cgroup.parents()
    by_group = dict.fromkeys(parents.folders, f"cgroup v{parents.version}") if parents else {}
    means = {"memory": by_group.get("memory", ""), "pids": by_group.get("pids", ""), "cpus": by_group.get("cpu", "")}
    rlimits = {resource.RLIMIT_CORE: 0}
    if limits.memory and not means["memory"]:
        rlimits[resource.RLIMIT_DATA] = limits.memory
        means["memory"] = "rlimit, each process"
    # The kernel exempts the host's root from RLIMIT_NPROC, inside a user namespace too.
    if limits.pids and not means["pids"] and os.geteuid() != 0:
        rlimits[resource.RLIMIT_NPROC] = limits.pids
        means["pids"] = "rlimit"
    plans = (
        LimitPlan("cpus", f"{limits.cpus:g}" if limits.cpus else "", means["cpus"]),
        LimitPlan("memory", format_size(limits.memory) if limits.memory else "", means["memory"]),
        LimitPlan("pids", str(limits.pids or ""), means["pids"]),
        LimitPlan("disk", format_size(limits.disk) if limits.disk else "", "tmpfs"),
        LimitPlan("timeout", format_duration(limits.timeout) if limits.timeout else "", "each command"),
    )
    return plans, rlimits


def _refuse_unsupported(spec: BottleSpec) -> None:
    if spec.image or spec.dockerfile:
        what = f"image '{spec.image}'" if spec.image else f"Dockerfile {spec.dockerfile}"
        raise UsageError(
            f"bubblewrap runs this host's programs, not {what}", hint="Use --backend docker, or leave the image out."
        )
    if spec.keep:
        raise UsageError("a bubblewrap bottle ends with its kernel", hint="Use --backend docker with --keep.")
    check_user(spec.user)


def check_user(user: str | None) -> None:
    """Refuse every user but `agent`, the only one in a bubblewrap bottle.

    Raises:
        UsageError: it is another user.
    """
    if user not in (None, "", GUEST_USER, str(GUEST_UID)):
        raise UsageError(
            f"a bubblewrap bottle has one user, '{GUEST_USER}', not '{user}'", hint="Use --backend docker."
        )


def _warnings(host_uid: int) -> tuple[str, ...]:
    if os.geteuid() == 0 and not host_uid:
        return ("this kernel runs as root, and so does the bottle on this host: run Jupyter as an ordinary user",)
    return ()


def _seccomp() -> str:
    return ", seccomp filter" if seccomp.supported() else "; NO seccomp filter for this processor"
