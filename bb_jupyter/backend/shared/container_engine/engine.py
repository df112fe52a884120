"""One container engine: the connection to it, errors that say what to do, and what is particular to its kind."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, Self, TypeVar
from urllib.parse import urlsplit

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from bb_jupyter.backend.base import Check
from bb_jupyter.backend.shared.container_engine import seccomp
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

_engines: dict[tuple[type, Endpoint], Any] = {}
_lock = threading.Lock()
os.register_at_fork(after_in_child=_engines.clear)  # two processes must not share one connection


class Engine(ABC):
    """An engine with Docker's API.  Thread-safe.  `docker` and `podman` have a subclass each.

    Args:
        endpoint: where it listens.

    Attributes:
        backend: name of the backend whose engine it is.
        title: what errors call it.
        command: its command line's program, for hints.
        hint_permission: what to do where this user may not use it.
        hint_start: what to do where nothing answers.
        hint_runtime: how to replace a runtime that bottles cannot use.
        oldest: its oldest version that is supported.
        healthcheck: what a container is created with so that the one of its image does not run.
        joins_unmade: a container may be created to share the network of one that does not exist yet.
        noise: pattern of what the engine itself may write to a command's error output; empty for nothing.
    """

    backend: ClassVar[str]
    title: ClassVar[str]
    command: ClassVar[str]
    hint_permission: ClassVar[str]
    hint_start: ClassVar[str]
    hint_runtime: ClassVar[str]
    oldest: ClassVar[tuple[int, int]]
    healthcheck: ClassVar[dict[str, Any] | None] = {"test": ["NONE"]}
    joins_unmade: ClassVar[bool] = True
    noise: ClassVar[bytes] = b""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._connecting = threading.Lock()

    @classmethod
    def at(cls, endpoint: Endpoint) -> Self:
        """Return the engine at *endpoint*; the same object, with its connections, each time."""
        with _lock:
            if (cls, endpoint) not in _engines:
                _engines[cls, endpoint] = cls(endpoint)
            engine: Self = _engines[cls, endpoint]
            return engine

    @property
    def client(self) -> docker.APIClient:
        """The SDK's client, connected.

        Raises:
            BackendUnavailable: the engine does not answer, or may not be used.
        """
        with self._connecting:
            return self._client

    @cached_property
    def _client(self) -> docker.APIClient:
        with self.errors(f"connect to the {self.title}"):
            return _Client(
                base_url=self.endpoint.url, version="auto", timeout=_TIMEOUT, tls=self._tls(), max_pool_size=_POOL
            )

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """What the engine says of itself, asked once.

        Raises:
            BackendUnavailable: it does not answer.
        """
        with self.errors(f"ask the {self.title} what it can do"):
            found: dict[str, Any] = self.client.info()
        return found

    def _tls(self) -> docker.tls.TLSConfig | bool:
        """Return what secures the way there."""
        return False

    # What is particular to a kind of engine.

    @abstractmethod
    def security_options(self) -> list[str]:
        """Return the options of a bottle's container that filter its system calls; empty for the engine's own."""

    @property
    def can_pause(self) -> bool:
        """Whether it can pause a container while its files become an image."""
        return True

    def ulimits(self) -> list[dict[str, Any]]:
        """Return the resource limits of every container: no core dump, which a program of the host could read."""
        return [{"Name": "core", "Soft": 0, "Hard": 0}]

    def limit_pids(self, container: str, limit: int) -> None:
        """Set what the SDK's `update_container` lacks: `POST /containers/ID/update`, `PidsLimit` (Engine API 1.40).

        Raises:
            APIError: the engine refuses.
        """
        url = self.client._url("/containers/{0}/update", container)
        self.client._result(self.client._post_json(url, data={"PidsLimit": limit}))

    def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Create a volume before a container mounts it, where the engine does not do so with its labels."""
        return None  # Docker does

    def checks(self) -> list[Check]:
        """Return what `doctor` says beside what it says of every engine."""
        return []

    def remove(self, container: str) -> None:
        """Kill and remove a container with its anonymous volumes; one that is gone, or about to go, is no error.

        Raises:
            BackendUnavailable: the engine does not answer.
        """
        with self.errors(f"remove container {container}"):
            try:
                self.client.remove_container(container, force=True, v=True)
            except NotFound:
                return
            except APIError as error:
                if error.status_code != 409:
                    raise
                with contextlib.suppress(NotFound):  # somebody else removes it just now
                    self.client.wait(container, condition="removed")

    def remove_volume(self, volume: str) -> None:
        """Remove a volume that no container uses any more; one that is gone is no error.

        Raises:
            BackendUnavailable: the engine does not answer.
        """
        with self.errors(f"remove volume {volume}"), contextlib.suppress(NotFound):
            self.client.remove_volume(volume)

    def remove_image(self, image: str) -> None:
        """Remove the image of a snapshot unless a container, or an image made of it, needs it still; idempotent.

        Raises:
            BackendUnavailable: the engine does not answer.
        """
        with self.errors(f"remove image {image[:19]}"):
            try:
                self.client.remove_image(image)
            except APIError as error:
                if error.status_code not in (404, 409) and not self.says_image_is_gone(str(error)):
                    raise

    def says_image_is_gone(self, text: str) -> bool:
        """Whether the answer *text* to a removal means that the image does not exist any more."""
        # Docker 20.10 answers 500 for an image that somebody else removes at the same time.
        return "unrecognized image ID" in text

    def is_gone(self, error: Exception) -> bool:
        """Whether *error* says that the container does not exist or does not run."""
        return (isinstance(error, NotFound) and not isinstance(error, ImageNotFound)) or (
            isinstance(error, APIError) and error.status_code == 409
        )

    # The same for all.

    def seccomp_profile(self) -> str:
        """Return the profile for this engine's processor as JSON; empty where it has no filters, or none is known."""
        return seccomp.profile(self.info)

    def address(self) -> dict[str, Any]:
        """Return where it is, and what secures the way there, as `relay_stream.Connection` takes it."""
        if (unix := self.endpoint.socket_path) is not None:
            return {"unix": str(unix)}
        url = urlsplit(self.client.base_url)
        tls = {"ca": self.client.verify or False, "cert": self.client.cert or ()}
        return {"host": url.hostname, "port": url.port, **({"tls": tls} if url.scheme == "https" else {})}

    def addresses(self) -> tuple[str, ...]:
        """Return the addresses of its machine as seen from here; none for one behind a Unix socket."""
        url = urlsplit(self.client.base_url)
        if self.endpoint.socket_path is not None or not url.hostname:
            return ()
        with contextlib.suppress(OSError):
            found = socket.getaddrinfo(url.hostname, url.port, type=socket.SOCK_STREAM)
            return tuple({str(where[0]).partition("%")[0] for *_, where in found})
        return ()

    def path(self, container: str) -> str:
        """Return the path of a container in its API, the version included."""
        return str(urlsplit(self.client._url("/containers/{0}", container)).path)

    def is_running(self, container: str) -> bool:
        """Whether a container runs and is not about to be removed.

        Raises:
            BackendUnavailable: the engine does not answer.
        """
        with self.errors("look at a container"):
            try:
                state = self.client.inspect_container(container)["State"]
            except NotFound:
                return False
        return bool(state["Running"] and not state["Dead"] and state["Status"] != "removing")

    @contextlib.contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn what the SDK raises into errors that say what to do.

        Args:
            doing: what was tried, to follow `cannot`.

        Raises:
            BackendUnavailable: the engine is down, may not be used, is out of disk, or refuses.
        """
        try:
            yield
        except (DockerException, requests.RequestException) as error:
            raise self.explain(error, doing) from None

    def explain(self, error: Exception, doing: str) -> BottleError:
        """Return the error to raise for one that the SDK raised while *doing*."""
        cause = _os_error(error)
        where = f"{self.endpoint.url} ({self.endpoint.origin})"
        if isinstance(cause, PermissionError):
            return BackendUnavailable(f"cannot {doing}: this user may not use {where}", hint=self.hint_permission)
        if isinstance(cause, ssl.SSLError):
            return BackendUnavailable(
                f"cannot {doing}: no secure connection to {where}: {cause.reason or cause}",
                hint="Check ca.pem, cert.pem and key.pem in DOCKER_CERT_PATH, or the TLS files of the Docker context.",
            )
        if isinstance(error, requests.Timeout):
            return BackendUnavailable(
                f"cannot {doing}: the engine did not answer within {_TIMEOUT} s",
                hint="Restart it, or free its machine.",
            )
        if isinstance(error, APIError) and error.response is not None:
            return self._refusal(text_of(error), doing)
        if cause is not None or isinstance(error, requests.ConnectionError):
            return BackendUnavailable(f"cannot {doing}: nothing answers at {where}", hint=self.hint_start)
        return BackendUnavailable(f"cannot {doing}: {error}")

    def _refusal(self, text: str, doing: str) -> BottleError:
        if "no space left on device" in text.lower():
            hint = (
                f"`{self.command} system df` shows what fills it; `{self.command} system prune` frees what is unused."
            )
            return BackendUnavailable(f"cannot {doing}: the engine's disk is full", hint=hint)
        return BackendUnavailable(f"cannot {doing}: {text}")


class _Client(docker.APIClient):  # type: ignore[misc] # docker-py has no types
    """The SDK's, from its first request on without a proxy, .netrc or CA variable between us and the engine."""

    trust_env = property(lambda self: False, lambda self, value: None)


def text_of(error: APIError) -> str:
    """Return what the engine said, on one line."""
    return " ".join(str(error.explanation or error).split())


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
