"""The `smolmachines` SDK (1.32): imported when first used, its errors made ours.

Retries are the SDK's: what is rate limited (429) is sent again as its `Retry-After` asks, what may have run is not.
What remains comes as `SmolError` with a `code`, the HTTP `status` and whether a retry may help.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from http.client import HTTPException
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from bb_jupyter.errors import BackendUnavailable, BottleError, BottleGone, UsageError

if TYPE_CHECKING:
    import smol

Target = Literal["local", "cloud"]
_TARGETS: tuple[Target, ...] = ("local", "cloud")
#: Chooses where machines run; without it the cloud is used when `TOKEN` is set.
VARIABLE = "BOT_BOTTLE_SMOL_TARGET"
#: The cloud's API key, and its address (both read by the SDK).
TOKEN, URL = "SMOL_CLOUD_TOKEN", "SMOL_CLOUD_URL"
#: States of a machine in which commands run.
ALIVE = frozenset({"running", "started"})
#: Seconds that a command of ours may take which does next to nothing.
SHORT = 60.0
_INSTALL = "pip install 'bb-jupyter[smolmachines]'"
_DOCTOR = "See `%bottle doctor`; --backend docker and --backend bubblewrap need no virtual machine."


def installed() -> bool:
    """Whether the SDK is there; does not import it."""
    return find_spec("smol") is not None


def require() -> None:
    """Import the SDK.

    Raises:
        BackendUnavailable: it is not installed.
    """
    try:
        import smol  # noqa: F401
    except ImportError:
        raise BackendUnavailable("the smolmachines SDK is not installed", hint=f"Run: {_INSTALL}") from None


def target() -> Target:
    """Return where machines run: the value of `VARIABLE`, else the cloud if there is a key, else this host.

    Raises:
        UsageError: the variable has another value.
    """
    chosen = os.environ.get(VARIABLE) or ("cloud" if os.environ.get(TOKEN) else "local")
    for known in _TARGETS:
        if chosen == known:
            return known
    raise UsageError(f"{VARIABLE} is {chosen!r}", hint="Write 'local' or 'cloud'.")


def looks_usable() -> bool:
    """Whether the SDK is installed and its target looks usable, judged by files and variables alone."""
    if not installed():
        return False
    try:
        return bool(os.environ.get(TOKEN)) if target() == "cloud" else os.access("/dev/kvm", os.R_OK | os.W_OK)
    except UsageError:
        return False


def connection(where: Target) -> smol.ConnectOptions:
    """Return the connection options of a target; the SDK takes key and address from the environment.

    Raises:
        BackendUnavailable: the SDK is not installed, or the cloud's key is not set.
    """
    require()
    from smol import ConnectOptions

    if where == "cloud" and not os.environ.get(TOKEN):
        raise BackendUnavailable("the smol cloud needs an API key", hint=f"Set {TOKEN}, or {VARIABLE}=local.")
    return ConnectOptions(target=where)


def is_gone(error: smol.SmolError) -> bool:
    """Whether the machine does not exist, or disappeared while a command ran."""
    return error.code in ("NOT_FOUND", "MACHINE_INTERRUPTED") or error.status == 404


def gone(name: str) -> BottleGone:
    """Return the error for a bottle that has ended."""
    return BottleGone(f"bottle '{name}' is gone", hint=f"Run `%%bottle {name}` again for a new one.")


def explain(error: smol.SmolError, doing: str) -> BottleError:
    """Return our error for one of the SDK's; its text never has the key."""
    why = " ".join(str(error).split())[:400]
    if error.code == "UNAUTHORIZED" or error.status == 403:
        return BackendUnavailable(f"cannot {doing}: the smol cloud refuses the key: {why}", hint=f"Check {TOKEN}.")
    if error.status == 402:
        return BackendUnavailable(f"cannot {doing}: {why}", hint="The smol account's budget is used up.")
    if error.status == 429:
        wait = f" in {error.retry_after_s:.0f} s" if error.retry_after_s is not None else " later"
        return BackendUnavailable(f"cannot {doing}: too many requests to the smol cloud", hint=f"Try again{wait}.")
    if error.code in ("CONNECTION", "TIMEOUT") or error.retryable:
        return BackendUnavailable(f"cannot {doing}: {why}", hint="Try again; the bottle is not the cause.")
    return BackendUnavailable(f"cannot {doing}: {why}", hint=_DOCTOR)


@contextlib.contextmanager
def errors(doing: str, *, name: str = "") -> Iterator[None]:
    """Turn the SDK's errors into ours.

    Args:
        doing: the action, for the message: `start a command`.
        name: name of the machine's bottle; empty if the request concerns no machine.

    Raises:
        BottleGone: the machine does not exist any more.
        BackendUnavailable: any other error of the SDK.
    """
    from smol import SmolError

    try:
        yield
    except SmolError as error:
        if name and is_gone(error):
            raise gone(name) from None
        raise explain(error, doing) from None
    except (OSError, HTTPException) as error:  # an untyped error: the connection closed before the answer
        raise BackendUnavailable(f"cannot {doing}: {error}", hint="Try again; the bottle is not the cause.") from None
    except ValueError as error:  # the SDK's types refuse a configuration
        raise BackendUnavailable(f"cannot {doing}: {error}") from None


def remove_machine(where: Target, machine: str) -> None:
    """Delete a bottle's machine; one that is gone is no error.

    Args:
        where: its target.
        machine: its name; the cloud needs an id, so its machines of that name are looked up.

    Raises:
        BackendUnavailable: the SDK or the cloud does not answer.
    """
    from smol import Machine

    options = connection(where)
    with errors(f"remove machine {machine}"):
        if where == "local":
            Machine.delete_by_name(machine, options)
            return
        for found in Machine.list(options):
            if found.name == machine:
                Machine.delete_by_name(found.id, options)
