"""Removing a bottle's machine."""

from __future__ import annotations

from bb_jupyter.backend.smolmachines import sdk
from bb_jupyter.backend.smolmachines.sdk import Target


def remove(where: Target, machine: str) -> None:
    """Delete a bottle's machine; one that is gone is no error.

    Args:
        where: its target.
        machine: its name; the cloud, where an id is needed, is asked for those that are called so.

    Raises:
        BackendUnavailable: the SDK or the cloud does not answer.
    """
    from smol import Machine

    connection = sdk.connection(where)
    with sdk.errors(f"remove machine {machine}"):
        if where == "local":
            Machine.delete_by_name(machine, connection)
            return
        for found in Machine.list(connection):
            if found.name == machine:
                Machine.delete_by_name(found.id, connection)
