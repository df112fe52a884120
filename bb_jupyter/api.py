"""Bottles from Python: what `bb_jupyter` exports.  The magics do the same over the same session."""

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

    Leaving the `with` block of what it returns stops it; else it is stopped when this process ends.

    Args:
        name: what to call it: 1 to 40 of `a-z`, `0-9` and `-`.
        agent: name of an agent manifest.
        bottle: name of a bottle manifest.
        backend: `docker`, `bubblewrap` or `smolmachines`; empty to choose one of the first two by what works here.
        image: image to run (docker).
        allow: hosts that the gateway lets through beside the manifest's routes.
        env: variables for every command.
        copy: `SRC[:DST]` of what to copy in.
        cwd: default working directory, relative to the home in the bottle.
        user: default user in the bottle.
        memory: limit in bytes, or as `"4g"`.
        cpus: limit of processors; fractions allowed.
        pids: limit of processes and threads.
        disk: limit of what the writable file systems hold, in bytes or as `"4g"`.
        timeout: limit of one command in seconds, or as `"30m"`.
        keep: the bottle outlives this process; `attach` finds it again.

    Returns:
        The running bottle.

    Raises:
        UsageError: a name or a value is wrong.
        ManifestError: a manifest is.
        NameTaken: a live bottle has the name.
        BackendUnavailable: this host cannot run it.
        BuildFailed: its image cannot be built.
    """
    options = LaunchOptions(
        agent=agent,
        bottle=bottle,
        backend=backend,
        image=image,
        allow=tuple(allow),
        env=dict(env or {}),
        copy=tuple(copy),
        cwd=cwd,
        user=user,
        limits=limits_of(memory=memory, cpus=cpus, pids=pids, disk=disk, timeout=timeout),
        keep=keep,
    )
    return current().launch(name, options)


def get(name: str) -> BottleHandle:
    """Return a running bottle of this process, such as one that a cell launched.

    Raises:
        UsageError: this process holds none of that name.
        BottleGone: it died or was stopped elsewhere.
    """
    return current().get(name)


def active() -> list[ActiveAgent]:
    """Return the live bottles of this user on this host, of every kernel and backend, oldest first."""
    return current().active()


def attach(name: str) -> BottleHandle:
    """Hold a kept bottle again whose kernel is gone.

    Raises:
        UsageError: there is no such bottle, or it does not outlive its kernel.
        NameTaken: another live kernel holds it.
        BottleGone: it does not run any more.
    """
    return current().attach(name)


def stop(name: str) -> None:
    """Remove a bottle of this process, or a kept one that no live kernel holds.

    Raises:
        UsageError: there is none of that name, or another live kernel holds it.
    """
    current().stop(name)


def cleanup(*, dry_run: bool = False) -> list[str]:
    """Remove what killed kernels left; live and kept bottles stay.

    Args:
        dry_run: only list it.

    Returns:
        What was (or would be) removed, a line each.
    """
    return current().cleanup(dry_run=dry_run)


def doctor() -> dict[str, list[Check]]:
    """Look thoroughly at every backend.

    Returns:
        What was found, by the name of the backend.
    """
    return {name: registry.get(name).diagnose() for name in registry.names()}


def audit(name: str) -> pandas.DataFrame | list[dict[str, object]]:
    """Return what every bottle of a name did through its gateway, oldest first; bottles that ended too.

    One row is one request or tunnel (`event` is `egress`), or another event of the gateway or of the human's, such as
    `policy`, `routes` or `gateway-died`.  Columns:

    * `time`: when it began, in UTC;
    * `bottle`: the bottle's slug; `generation`: number of the policy that was in force;
    * `event`; `verdict`: `allowed`, `denied` or `failed`, empty for what is no request;
    * `method`, `scheme`, `host`, `port`, `path`: what was asked for, without a query; `path` is empty for a tunnel;
    * `rule`: the route that allowed it or the rule that denied it; `reason`: why it was denied or failed;
    * `mode`: `tunnel` or `intercept`; `injected`: whether a credential was put in;
    * `status`: of the answer; `up`, `down`: bytes to the server and to the bottle; `seconds`: how long it took.

    A number that is not known is missing (`None`, or pandas' `NA`).

    Args:
        name: what the bottle was called, or a slug for that one alone.

    Returns:
        A table where pandas is installed, else a list of rows.

    Raises:
        UsageError: nothing was ever logged under that name.
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
    """Approve what a bottle asks for, and wait until that is done; `approvals()` lists what waits.

    Args:
        id: number of the proposal.
        why: words for the agent.
        options: what the kind of the proposal takes, as `%bottle approve --help` lists it: `refs` of a push (names of
            the refs that go upstream), `answer` to a question, `to` of an offered file (where to copy it).

    Returns:
        Where it stands: `state`, `decision`, and what came of it as `outcome`.

    Raises:
        UsageError: there is no such proposal, it is decided already, or an option does not fit it.
    """
    from bb_jupyter.broker import effects

    given: dict[str, Any] = {**options}
    return effects.approve(id, why=why, **given)


def deny(id: int, *, why: str) -> Status:
    """Deny what a bottle asks for.

    Args:
        id: number of the proposal.
        why: words for the agent.

    Returns:
        Where it stands.

    Raises:
        UsageError: there is no such proposal, or it is decided already.
    """
    from bb_jupyter.broker import effects

    return effects.deny(id, why=why)


def limits_of(**values: str | float | None) -> Limits:
    """Return limits from values as people write them, such as `memory="4g"`; `None` and `""` are left out.

    Raises:
        UsageError: a value cannot be right.
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
