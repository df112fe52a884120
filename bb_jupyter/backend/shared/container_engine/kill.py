"""Kill one command in a container, with all it started.  The engine has no request for that (docker-py#3155)."""

from __future__ import annotations

import contextlib
import time

import docker
import requests
from docker.errors import APIError, DockerException

from bb_jupyter.agent import process_tree
from bb_jupyter.backend.shared.container_engine.stream import RawStream
from bb_jupyter.process.waiting import wait_until

#: Seconds between two looks for an exit status.
_INTERVAL = 0.01
#: Processes beyond the limit that PID 1 gets for a moment, and how long in seconds.
_ROOM, _REAPING = 16, 0.3
#: Seconds that a kill may take.
_PATIENCE = 5.0


def kill_command(client: docker.APIClient, container: str, pid: int, user: str) -> None:
    """Kill process *pid* of a container, its session, its group and all their descendants.

    Where no command can start any more (a fork bomb up to the limit of pids), PID 1 kills all that its user runs; the
    bottle stays.  No error when the command is over or the container is gone.

    Args:
        client: the engine.
        container: its name.
        pid: the command's process id in the container; it leads a session.
        user: user that the command runs as; empty for the container's.
    """
    with contextlib.suppress(DockerException, requests.RequestException):
        if not _killed(client, container, pid, user):
            _kill_all(client, container)


def _killed(client: docker.APIClient, container: str, pid: int, user: str) -> bool:
    """Run the script; its word is taken, for the engine may tell of its end two seconds later."""
    try:
        killer = client.exec_create(container, process_tree.kill_command(pid), user=user)["Id"]
        stream = RawStream.of_exec(client, killer)
    except APIError:
        return False
    said = b""
    deadline = time.monotonic() + _PATIENCE
    with contextlib.closing(stream):
        while not stream.ended and len(said) < len(process_tree.GONE) and (left := deadline - time.monotonic()) > 0:
            stream.wait(left)
            said += b"".join(chunk.data for chunk in stream.read())
    return said == process_tree.GONE


def _kill_all(client: docker.APIClient, container: str) -> None:
    """Have PID 1 kill all others.  It needs a new child while the dead still count: the limit of pids is lifted."""
    limit = client.inspect_container(container)["HostConfig"]["PidsLimit"]
    if limit:
        _limit_pids(client, container, limit + _ROOM)
    client.kill(container, "USR1")
    if limit:
        time.sleep(_REAPING)
        _limit_pids(client, container, limit)


def _limit_pids(client: docker.APIClient, container: str, limit: int) -> None:
    """Set what the SDK's `update_container` lacks: `POST /containers/ID/update`, `PidsLimit` (Engine API 1.40)."""
    url = client._url("/containers/{0}/update", container)
    client._result(client._post_json(url, data={"PidsLimit": limit}))


def exit_status(client: docker.APIClient, exec_id: str, *, patience: float) -> int | None:
    """Return the exit status of an exec whose output has ended; `None` when *patience* seconds have not brought it.

    Raises:
        APIError: the engine knows no such exec.
    """

    def ended() -> list[int]:
        state = client.exec_inspect(exec_id)
        return [] if state["Running"] or state["ExitCode"] is None else [int(state["ExitCode"])]

    found = wait_until(ended, timeout=patience, poll=_INTERVAL)
    return found[0] if found else None
