"""What works on an engine, what does not, and how to mend it: its part of `%bottle doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bb_jupyter.backend.base import Check
from bb_jupyter.backend.shared import image_choice
from bb_jupyter.backend.shared.container_engine import image
from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.backend.shared.container_engine.prepare import plan_limits
from bb_jupyter.backend.spec import BottleSpec
from bb_jupyter.errors import BottleError
from bb_jupyter.manifest import Limits


def diagnose(name: str, find: Callable[[], Engine]) -> list[Check]:
    """Ask the engine for everything that a bottle needs; an engine that does not answer is one finding.

    Args:
        name: the backend's.
        find: returns the engine.
    """
    found: list[Check] = []
    try:
        found += (Check(f"{name} {check.name}", check.verdict, check.detail, check.fix) for check in _checks(find()))
    except BottleError as error:
        found.append(Check(f"{name} engine", "failed", error.message, error.hint))
    return found


def _checks(engine: Engine) -> Iterator[Check]:
    where, info = engine.endpoint, engine.info
    yield Check("engine", "ok", f"{where.url} ({where.origin}), {info.get('OperatingSystem', '')}")
    yield _version(engine)
    yield _security(engine)
    yield _limits(engine)
    yield _runtime(engine)
    yield from engine.checks()
    yield _base_image(engine)


def _version(engine: Engine) -> Check:
    version = str(engine.info.get("ServerVersion", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < engine.oldest:
        oldest = ".".join(map(str, engine.oldest))
        return Check("version", "failed", version, f"{oldest} or newer is needed: upgrade the engine.")
    return Check("version", "ok", f"{version}, storage {engine.info.get('Driver')}")


def _security(engine: Engine) -> Check:
    said = engine.info.get("SecurityOptions") or ()
    options = {str(option).removeprefix("name=").partition(",")[0] for option in said}
    rootless = "rootless, " if "rootless" in options else ""
    if "seccomp" not in options:
        return Check("isolation", "warning", f"{rootless}no seccomp filter", "Use an engine that has seccomp.")
    return Check("isolation", "ok", rootless + ", ".join(sorted(options - {"rootless"})))


def _limits(engine: Engine) -> Check:
    wanted = plan_limits(Limits(cpus=1, memory=1 << 30, pids=100, disk=1 << 30), engine.info)
    lacking = [limit.name for limit in wanted if limit.value and not limit.means]
    serious = [name for name in lacking if name != "disk"]
    detail = f"enforced: {', '.join(limit.name for limit in wanted if limit.value and limit.means) or 'none'}"
    if serious:
        fix = "Give the engine these cgroup controllers (rootless: systemd must delegate them)."
        return Check("limits", "warning", f"{detail}; not: {', '.join(lacking)}", fix)
    return Check("limits", "ok", detail + ("; not: disk" if lacking else ""))


def _runtime(engine: Engine) -> Check:
    runtime = str(engine.info.get("DefaultRuntime", ""))
    if "runsc" in runtime or "gvisor" in runtime.lower():
        detail = f"{runtime}: its loopback is its own, a bottle gets no gateway"
        return Check("runtime", "warning", detail, engine.hint_runtime)
    return Check("runtime", "ok", runtime)


def _base_image(engine: Engine) -> Check:
    name = image_choice.base_image(BottleSpec(name="doctor", backend=engine.backend))
    if image.inspect(engine, name) is None:
        fix = f"{engine.command} pull {name}, or set {image_choice.VARIABLE} to an image that is here"
        return Check("image", "warning", f"{name} is not here; the first launch pulls it", fix)
    return Check("image", "ok", name)
