"""The connection to the engine: one client for all threads, and errors that say what to do."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import docker
import requests
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from bb_jupyter.backend.shared.container_engine import endpoint
from bb_jupyter.backend.shared.container_engine.endpoint import Endpoint
from bb_jupyter.errors import BackendUnavailable, BottleError
from bb_jupyter.process.waiting import wait_until

#: Seconds that the engine may take to answer one request.
_TIMEOUT = 120
#: Connections kept open at most: a hundred commands may start at once.
_POOL = 128
#: Seconds that a container may be paused for an image of it, and between two looks whether it still is.
_PAUSED, _LOOK = 60.0, 0.05

_T = TypeVar("_T")

_clients: dict[Endpoint, docker.APIClient] = {}
_infos: dict[Endpoint, dict[str, Any]] = {}
_lock = threading.Lock()
os.register_at_fork(after_in_child=_clients.clear)  # two processes must not share one connection


def client() -> docker.APIClient:
    """Return the client of the engine that the environment means, connected.

    Raises:
        BackendUnavailable: the engine does not answer, or may not be used.
    """
    where = endpoint.find()
    with _lock:
        if where not in _clients:
            with errors("connect to the Docker engine"):
                _clients[where] = _connect(where)
        return _clients[where]


def _connect(where: Endpoint) -> docker.APIClient:
    if where.url.startswith("ssh://"):
        raise BackendUnavailable(
            f"{where.origin} is {where.url}: engines over SSH need a tunnel",
            hint=f"Run `ssh -nNT -L /tmp/engine.sock:/var/run/docker.sock {where.url[6:]}` and set "
            "DOCKER_HOST=unix:///tmp/engine.sock.",
        )
    return _Client(base_url=where.url, version="auto", timeout=_TIMEOUT, tls=_tls(where), max_pool_size=_POOL)


class _Client(docker.APIClient):  # type: ignore[misc] # docker-py has no types
    """The SDK's, from its first request on without a proxy, .netrc or CA variable between us and the engine."""

    trust_env = property(lambda self: False, lambda self, value: None)


def _tls(where: Endpoint) -> docker.tls.TLSConfig | bool:
    if where.tls_env:
        return docker.utils.kwargs_from_env().get("tls", False)
    return (ContextAPI.get_context(where.context).TLSConfig or False) if where.context else False


def address(asked: docker.APIClient) -> dict[str, Any]:
    """Return where an engine is, and what secures the way there, as `relay_stream.Connection` takes it."""
    unix = endpoint.find().socket_path
    if unix is not None:
        return {"unix": str(unix)}
    url = urlsplit(asked.base_url)
    secured = {"tls": {"ca": asked.verify or False, "cert": asked.cert or ()}} if url.scheme == "https" else {}
    return {"host": url.hostname, "port": url.port, **secured}


def addresses(asked: docker.APIClient) -> tuple[str, ...]:
    """Return where the machine of an engine elsewhere is reached from here; nothing for one behind a Unix socket."""
    url = urlsplit(asked.base_url)
    if endpoint.find().socket_path is not None or not url.hostname:
        return ()
    with contextlib.suppress(OSError):
        found = socket.getaddrinfo(url.hostname, url.port, type=socket.SOCK_STREAM)
        return tuple({str(where[0]).partition("%")[0] for *_, where in found})
    return ()


def path(asked: docker.APIClient, container: str) -> str:
    """Return the path of a container in an engine's API, its version included."""
    return str(urlsplit(asked._url("/containers/{0}", container)).path)


def info() -> dict[str, Any]:
    """Return what the engine says of itself, asked once per engine.

    Raises:
        BackendUnavailable: it does not answer.
    """
    where, asked = endpoint.find(), client()
    if where not in _infos:
        with errors("ask the Docker engine what it can do"):
            _infos[where] = asked.info()
    return _infos[where]


@contextlib.contextmanager
def errors(doing: str) -> Iterator[None]:
    """Turn what the SDK raises into errors that say what to do.

    Args:
        doing: what was tried, to follow `cannot`.

    Raises:
        BackendUnavailable: the engine is down, may not be used, is out of disk, or refuses.
    """
    try:
        yield
    except (DockerException, requests.RequestException) as error:
        raise explain(error, doing) from None


def explain(error: Exception, doing: str) -> BottleError:
    """Return the error to raise for one that the SDK raised while *doing*."""
    cause = _os_error(error)
    if isinstance(cause, PermissionError):
        return BackendUnavailable(
            f"cannot {doing}: this user may not use {_where()}",
            hint="Join the group: `sudo usermod -aG docker $USER`, then log in again; or use --backend bubblewrap.",
        )
    if isinstance(cause, ssl.SSLError):
        return BackendUnavailable(
            f"cannot {doing}: no secure connection to {_where()}: {cause.reason or cause}",
            hint="Check ca.pem, cert.pem and key.pem in DOCKER_CERT_PATH, or the TLS files of the Docker context.",
        )
    if isinstance(error, requests.Timeout):
        return BackendUnavailable(
            f"cannot {doing}: the engine did not answer within {_TIMEOUT} s", hint="Restart it, or free its machine."
        )
    if isinstance(error, APIError) and error.response is not None:
        return _refusal(text_of(error), doing)
    if cause is not None or isinstance(error, requests.ConnectionError):
        return BackendUnavailable(
            f"cannot {doing}: nothing answers at {_where()}",
            hint="Start it (`sudo systemctl start docker`), set DOCKER_HOST, or use --backend bubblewrap.",
        )
    return BackendUnavailable(f"cannot {doing}: {error}")


def _refusal(text: str, doing: str) -> BottleError:
    if "no space left on device" in text.lower():
        hint = "`docker system df` shows what fills it; `docker system prune` frees what nothing uses."
        return BackendUnavailable(f"cannot {doing}: the engine's disk is full", hint=hint)
    return BackendUnavailable(f"cannot {doing}: {text}")


def text_of(error: APIError) -> str:
    """Return what the engine said, on one line."""
    return " ".join(str(error.explanation or error).split())


def is_gone(error: Exception) -> bool:
    """Whether *error* says that the container does not exist or does not run."""
    return (isinstance(error, NotFound) and not isinstance(error, ImageNotFound)) or (
        isinstance(error, APIError) and error.status_code == 409
    )


def once_unpaused(call: Callable[[], _T]) -> _T:
    """Return the result of *call*, which needs a container that runs: one is paused while its files become an image.

    Raises:
        APIError: the engine refuses; it still is paused after a while, too.
    """

    def attempt() -> list[_T]:
        try:
            return [call()]
        except APIError as error:
            if error.status_code != 409 or "is paused" not in str(error):
                raise
        return []

    done = wait_until(attempt, timeout=_PAUSED, poll=_LOOK)
    return done[0] if done else call()


def is_running(asked: docker.APIClient, container: str) -> bool:
    """Whether a container runs and is not about to be removed.

    Raises:
        BackendUnavailable: the engine does not answer.
    """
    with errors("look at a container"):
        try:
            state = asked.inspect_container(container)["State"]
        except NotFound:
            return False
    return bool(state["Running"] and not state["Dead"] and state["Status"] != "removing")


def _where() -> str:
    try:
        where = endpoint.find()
    except BottleError:
        return "the engine"
    return f"{where.url} ({where.origin})"


def _os_error(error: BaseException) -> OSError | None:
    """Return the operating system's error at the bottom; requests and urllib3 wrap it in arguments and causes."""
    pending: list[object] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        if isinstance(current, OSError) and not isinstance(current, requests.RequestException) and current.errno:
            return current
        seen.add(id(current))
        pending += [*current.args, current.__cause__, current.__context__, getattr(current, "reason", None)]
    return None
