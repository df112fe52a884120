"""Requests to the kernel that holds a bottle, from another process of the same user: to allow one more host.

The lab panel works while kernels are busy, and only the kernel that holds a bottle can change its policy.  So a session
listens on a Unix socket in `<BOT_BOTTLE_HOME>/owners/`, which other users cannot enter; a connection carries one
request and one answer, each a line of JSON.  The name of the socket names the process, as a bottle's record does.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from bb_jupyter.errors import BottleError, UsageError
from bb_jupyter.home import bot_bottle_home, private_dir
from bb_jupyter.process import procfs
from bb_jupyter.process.identity import ProcessIdentity
from bb_jupyter.process.jsonl import connect, decode, encode, listen, receive_line
from bb_jupyter.process.waiting import POLL

#: Seconds that the asker waits, after which the owner refuses the request: nobody would learn of its effect.
PATIENCE: Final = 10.0
#: Most bytes of a request or an answer.
_LONGEST: Final = 1 << 16
#: Seconds in which a request must arrive.
_ARRIVES: Final = 2.0
#: `struct ucred` of unix(7): pid, uid and gid of the peer.
_UCRED: Final = struct.Struct("3i")


class HeldBottle(Protocol):
    """What is needed of a bottle that this process holds."""

    @property
    def slug(self) -> str:
        """Its identity."""

    def allow(self, *hosts: str) -> int:
        """Let it reach more hosts; returns the policy's generation."""


def ask_to_allow(owner: ProcessIdentity, slug: str, host: str, *, patience: float = PATIENCE) -> int:
    """Ask the owner of a bottle to allow a host, and wait until the policy is in force.

    Args:
        owner: the process that holds the bottle.
        slug: the bottle's.
        host: `HOST` or `HOST:PORT`.
        patience: seconds to wait.

    Returns:
        The policy's generation.

    Raises:
        UsageError: *host* is no host.
        BottleError: the owner refused, cannot be reached, or did not answer in time.
    """
    request = encode(allow=host, slug=slug, until=time.time() + patience)
    for path in _sockets(owner):
        answer = _ask(path, request, patience)
        if "generation" in answer:
            return int(answer["generation"])
        if "error" in answer:
            kind = UsageError if answer.get("usage") else BottleError
            raise kind(str(answer["error"]), hint=str(answer.get("hint", "")))
    raise BottleError(
        f"the kernel that holds this bottle ({owner}) cannot be reached",
        hint="Nothing was allowed. Is the kernel on another machine, or does it start or stop the bottle just now?",
    )


def _ask(path: Path, request: bytes, patience: float) -> dict[str, Any]:
    """Return the answer of the session that listens at *path*; empty when it is gone or does not hold the bottle.

    Raises:
        BottleError: it did not answer in time.
    """
    try:
        with connect(path, patience) as connection:
            connection.sendall(request)
            return decode(receive_line(connection, timeout=patience, longest=_LONGEST)) or {}
    except TimeoutError:
        raise BottleError(
            f"the kernel that holds this bottle did not answer for {patience:g} s",
            hint="Nothing was allowed. Is the kernel suspended?",
        ) from None
    except (OSError, ValueError):
        return {}


class OwnerRequests:
    """Obeys the requests to one session, on a thread that starts with its first bottle.

    Args:
        bottles: returns the bottles that the session holds.
    """

    def __init__(self, bottles: Callable[[], Iterable[HeldBottle]]) -> None:
        self._bottles = bottles
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._pid = 0

    def start(self) -> None:
        """Begin to listen.  Idempotent; where the user's folder cannot be written, nobody can ask."""
        with self._lock, contextlib.suppress(OSError):
            if self._pid == os.getpid():
                return
            folder = private_dir(_folder())
            _remove_stale(folder)
            path = folder / f"{_stem(ProcessIdentity.current())}-{secrets.token_hex(4)}.sock"
            listener = listen(path)
            self._path, self._pid = path, os.getpid()
            threading.Thread(target=self._serve, args=(listener,), name="bottle-owner-requests", daemon=True).start()

    def close(self) -> None:
        """Take the socket away.  Idempotent."""
        with self._lock:
            if self._path is not None and self._pid == os.getpid():
                self._path.unlink(missing_ok=True)
            self._path, self._pid = None, 0

    def _serve(self, listener: socket.socket) -> None:
        with listener:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # no descriptor is free
                    time.sleep(POLL)
                    continue
                with connection, contextlib.suppress(OSError, ValueError):
                    if _peer_user(connection) == os.geteuid():
                        request = decode(receive_line(connection, timeout=_ARRIVES, longest=_LONGEST))
                        connection.sendall(encode(**self._answer(request or {})))

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        bottle = next((bottle for bottle in self._bottles() if bottle.slug == request.get("slug")), None)
        if bottle is None or float(request.get("until", 0)) < time.time():
            return {}
        try:
            return {"generation": bottle.allow(str(request.get("allow", "")))}
        except BottleError as error:
            return {"error": error.message, "hint": error.hint, "usage": isinstance(error, UsageError)}
        except Exception as error:  # the asker must hear of every failure
            return {"error": f"the kernel could not do it: {type(error).__name__}"}


def _peer_user(connection: socket.socket) -> int:
    """Return the user who is at the other end."""
    _, user, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return int(user)


def _folder() -> Path:
    return bot_bottle_home() / "owners"


def _stem(owner: ProcessIdentity) -> str:
    """Return how the names of a process's sockets begin: its machine, that machine's boot, and the process there."""
    host = hashlib.sha256(owner.host.encode()).hexdigest()[:8]
    return f"{host}-{owner.boot_id[:8]}-{owner.pid_namespace}-{owner.pid}-{owner.start_time}"


def _sockets(owner: ProcessIdentity) -> Iterator[Path]:
    return iter(sorted(_folder().glob(f"{_stem(owner)}-*.sock")))


def _remove_stale(folder: Path) -> None:
    """Remove the sockets of processes of this machine that were killed."""
    host, boot, namespace, *_ = _stem(ProcessIdentity.current()).split("-")
    for path in folder.glob(f"{host}-*.sock"):
        _, its_boot, its_namespace, pid, start_time, _ = path.stem.split("-")
        dead = its_namespace == namespace and procfs.start_time(int(pid)) != int(start_time)
        if its_boot != boot or dead:
            path.unlink(missing_ok=True)
