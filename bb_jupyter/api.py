"""The Python API of bottles, which `bb_jupyter` exports.  The magics use the same session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bb_jupyter.backend import registry
from bb_jupyter.backend.base import Check
from bb_jupyter.backend.bottle import ActiveAgent
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.core.session import current
from bb_jupyter.errors import UsageError
from bb_jupyter.manifest import Limits

if TYPE_CHECKING:
    import pandas

    from bb_jupyter.approvals import Status
    from bb_jupyter.gateway.audit.history import AuditRecord


def launch(
    name: str,
    *,
    agent: str = "",
    bottle: str = "",
    backend: str = "",
    image: str = "",
    allow: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    copy: Sequence[str] = (),
    copy_secret: Sequence[str] = (),
    cwd: str = "",
    user: str = "",
    memory: str | int | None = None,
    cpus: float | None = None,
    pids: int | None = None,
    disk: str | int | None = None,
    timeout: str | float | None = None,
    keep: bool = False,
) -> BottleHandle:
    """Launch a bottle.

    The bottle stops at the end of the `with` block of the returned handle, or when this process ends.

    Args:
        name: name of the bottle: 1 to 40 characters of `a-z`, `0-9` and `-`.
        agent: name of an agent manifest.
        bottle: name of a bottle manifest.
        backend: name of a backend, such as `docker`; empty to choose the preferred one that works here.
        image: image to run, on backends with images.
        allow: hosts that the bottle may reach, in addition to the routes of its manifest.
        env: environment variables of every command.
        copy: files and folders to copy in, each as `SRC[:DST]`.
        copy_secret: patterns of files that are copied in although they look like credentials.
        cwd: default working directory, relative to the agent's home.
        user: default user in the bottle.
        memory: memory limit in bytes, or as `"4g"`.
        cpus: limit of CPUs; fractions are allowed.
        pids: limit of processes and threads.
        disk: limit of the writable file systems, in bytes or as `"4g"`.
        timeout: time limit of one command in seconds, or as `"30m"`.
        keep: the bottle keeps running when this process ends; `attach` takes it over.

    Returns:
        The handle of the running bottle.

    Raises:
        UsageError: a name or a value is wrong.
        ManifestError: a manifest is wrong.
        NameTaken: a running bottle has the name.
        BackendUnavailable: the backend does not work on this host.
        BuildFailed: the image cannot be built.
    """
    options = LaunchOptions(
        agent=agent,
        bottle=bottle,
        backend=backend,
        image=image,
        allow=tuple(allow),
        env=dict(env or {}),
        copy=tuple(copy),
        copy_secret=tuple(copy_secret),
        cwd=cwd,
        user=user,
        limits=limits_of(memory=memory, cpus=cpus, pids=pids, disk=disk, timeout=timeout),
        keep=keep,
    )
    return current().launch(name, options)


def get(name: str) -> BottleHandle:
    """Return the handle of a running bottle of this process, for example one that a cell launched.

    Raises:
        UsageError: this process has no bottle of that name.
        BottleGone: the bottle died or was stopped elsewhere.
    """
    return current().get(name)


def active() -> list[ActiveAgent]:
    """Return the running bottles of this user on this host, of all kernels and backends, oldest first."""
    return current().active()


def attach(name: str) -> BottleHandle:
    """Attach this process to a kept bottle whose kernel has ended.

    Returns:
        The handle of the bottle.

    Raises:
        UsageError: there is no such bottle, or it was not launched with `keep`.
        NameTaken: a running kernel is attached to it.
        BottleGone: the bottle is not running any more.
    """
    return current().attach(name)


def stop(name: str) -> None:
    """Stop and remove a bottle of this process, or a kept one to which no running kernel is attached.

    Raises:
        UsageError: there is no bottle of that name, or another running kernel is attached to it.
    """
    current().stop(name)


def cleanup(*, dry_run: bool = False) -> list[str]:
    """Remove what killed kernels left behind; running bottles stay.

    Args:
        dry_run: list what would be removed; remove nothing.

    Returns:
        A line for each thing that was (or would be) removed.
    """
    return current().cleanup(dry_run=dry_run)


def doctor() -> dict[str, list[Check]]:
    """Check every backend thoroughly.

    Returns:
        The checks of each backend, by its name.
    """
    found = {backend.name: backend.diagnose() for backend in registry.loaded()}
    return found | {check.name: [check] for check in registry.broken()}


def audit(name: str) -> pandas.DataFrame | list[dict[str, object]]:
    """Return the log of the gateways of all bottles with a name, oldest first; ended bottles are included.

    A row is a request or tunnel (`event` is `egress`), or another event, such as `policy`, `routes` or `gateway-died`.
    Columns:

    * `time`: start, in UTC;
    * `bottle`: slug of the bottle; `generation`: number of the policy in force;
    * `event`; `verdict`: `allowed`, `denied` or `failed`, empty for an event that is not a request;
    * `method`, `scheme`, `host`, `port`, `path`: the request, without a query; `path` is empty for a tunnel;
    * `rule`: the route that allowed the request or the rule that denied it; `reason`: why it was denied or failed;
    * `mode`: `tunnel` or `intercept`; `injected`: whether the gateway added a credential;
    * `status`: status of the answer; `up`, `down`: bytes to the server and to the bottle; `seconds`: duration.

    An unknown number is missing (`None`, or `NA` in pandas).

    Args:
        name: name of the bottles, or the slug of one.

    Returns:
        A pandas table if pandas is installed, otherwise a list of rows.

    Raises:
        UsageError: there is no log for that name.
    """
    from bb_jupyter.gateway.audit.audit_log import slugs_of
    from bb_jupyter.gateway.audit.history import COLUMNS, history

    records = sorted((record for slug in slugs_of(name) for record in history(slug)), key=lambda record: record.time)
    rows: list[dict[str, object]] = [_row(record) for record in records]
    try:
        import pandas
    except ImportError:
        return rows
    kinds = {"port": "Int64", "status": "Int64", "seconds": "Float64", "time": "datetime64[ms, UTC]"}
    return pandas.DataFrame(rows, columns=COLUMNS).astype(kinds)


def _row(record: AuditRecord) -> dict[str, object]:
    row = asdict(record)
    row["time"] = datetime.fromtimestamp(record.time, UTC)
    row["port"], row["status"] = record.port or None, record.status or None
    return row


def approve(id: int, *, why: str = "", **options: object) -> Status:
    """Approve a request of a bottle, and wait for the effect; `approvals()` lists the waiting requests.

    Args:
        id: number of the request.
        why: reason, which the agent reads.
        options: options of the request's kind, as `%bottle approve --help` lists them: `refs` of a push (names of
            the refs that go upstream), `answer` to a question, `to` of an offered file (where to copy it).

    Returns:
        The status of the request: its `state`, the `decision`, and the `outcome` of its effect.

    Raises:
        UsageError: there is no such request, it is already decided, or an option does not fit it.
    """
    from bb_jupyter.broker import effects

    given: dict[str, Any] = {**options}
    return effects.approve(id, why=why, **given)


def deny(id: int, *, why: str) -> Status:
    """Deny a request of a bottle.

    Args:
        id: number of the request.
        why: reason, which the agent reads.

    Returns:
        The status of the request: its `state` and the `decision`.

    Raises:
        UsageError: there is no such request, or it is already decided.
    """
    from bb_jupyter.broker import effects

    return effects.deny(id, why=why)


def limits_of(**values: str | float | None) -> Limits:
    """Return limits from values as users write them, such as `memory="4g"`; `None` and `""` are ignored.

    Raises:
        UsageError: a value is not allowed.
    """
    from pydantic import ValidationError

    given = {name: _number(name, value) for name, value in values.items() if value not in (None, "")}
    try:
        return Limits.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        reason = first.get("ctx", {}).get("error") or first["msg"].replace("Input should", "must")
        raise UsageError(f"{first['loc'][0]}: {reason}") from None


def _number(name: str, value: str | float | None) -> str | float | None:
    kinds: dict[str, type[float] | type[int]] = {"cpus": float, "pids": int}
    kind = kinds.get(name)
    if kind is None or not isinstance(value, str):
        return value
    try:
        return kind(value)
    except ValueError:
        raise UsageError(f"{name}: not a number: {value!r}") from None
