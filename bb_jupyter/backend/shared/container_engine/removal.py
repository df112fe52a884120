"""Removing what the engine has of a bottle."""

from __future__ import annotations

from contextlib import suppress

import docker
from docker.errors import APIError, NotFound

from bb_jupyter.backend.shared.container_engine import engine


def remove(client: docker.APIClient, container: str) -> None:
    """Kill and remove a container with its anonymous volumes; one that is gone, or about to go, is no error.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    with engine.errors(f"remove container {container}"):
        try:
            client.remove_container(container, force=True, v=True)
        except NotFound:
            return
        except APIError as error:
            if error.status_code != 409:
                raise
            with suppress(NotFound):  # somebody else removes it just now
                client.wait(container, condition="removed")


def remove_volume(client: docker.APIClient, volume: str) -> None:
    """Remove a volume that no container uses any more; one that is gone is no error.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    with engine.errors(f"remove volume {volume}"), suppress(NotFound):
        client.remove_volume(volume)
