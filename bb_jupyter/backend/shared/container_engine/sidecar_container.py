"""Containers of a bottle's trusted side: gateway, handoff and relay, which can do nothing but their work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import docker
from docker.types import Mount

from bb_jupyter.backend.shared.container_engine.gateway_image import PYTHON, USER


def create(
    client: docker.APIClient,
    image_id: str,
    name: str,
    module: Sequence[str],
    *,
    network: str,
    labels: Mapping[str, str],
    memory: int,
    pids: int,
    stdin: bool = False,
    mounts: Sequence[Mount] = (),
) -> None:
    """Create a container that runs a module of the gateway's image, as nobody, with nothing writable but its mounts.

    Args:
        client: the engine.
        image_id: of the gateway's image.
        name: what to call it.
        module: options of Python, `-m`, a module and its arguments.
        network: mode: `bridge`, or `container:` and another's name.
        labels: whose it is.
        memory: most bytes, a bound for a flaw.
        pids: most processes and threads, as well.
        stdin: it gets an input, once.
        mounts: volumes.

    Raises:
        APIError: the engine refuses.
    """
    config = client.create_container_config(
        image_id,
        # `-E`: no variable of an image changes what Python does.
        [PYTHON, "-E", *module],
        user=USER,
        stdin_open=stdin,
        labels=dict(labels),
        stop_signal="SIGKILL",
        healthcheck={"test": ["NONE"]},
        host_config=client.create_host_config(
            network_mode=network,
            mounts=list(mounts),
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            ipc_mode="private",
            log_config={"Type": "none"},
            ulimits=[{"Name": "core", "Soft": 0, "Hard": 0}],
            mem_limit=memory,
            memswap_limit=memory,
            pids_limit=pids,
        ),
    )
    client.create_container_from_config(config, name)
