"""Files in and out of a container as tar streams, with the rules of `docker cp`; nothing is held in memory whole."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import posixpath
import tarfile
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import requests
from docker.errors import APIError, DockerException, NotFound

from bb_jupyter.backend.plan import GUEST_HOME, GUEST_UID
from bb_jupyter.backend.shared.archive import BeforeCopy, CopyReport, unpack
from bb_jupyter.backend.shared.container_engine.engine import Engine, text_of
from bb_jupyter.backend.shared.copying import CopyPlan, pack
from bb_jupyter.errors import UsageError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

_BLOCK = 1 << 20
#: Bit of Go's os.FileMode, in which the engine gives modes, that marks a directory.
_GO_DIRECTORY = 1 << 31


def copy_in(engine: Engine, container: str, user: str, plan: CopyPlan) -> CopyReport:
    """Copy what *plan* lists into a container, running or not.

    Args:
        engine: where the bottle runs.
        container: its name.
        user: `UID:GID` or name of the user who gets the files; a name counts as the agent.
        plan: what to copy, and where to: an existing directory takes the source under its own name.

    Raises:
        UsageError: a file cannot be read, or cannot be written there.
        BackendUnavailable: the engine does not answer.
    """
    target = resolve(str(plan.copy.target))
    mode = path_mode(engine, container, target)
    if mode is not None and mode & _GO_DIRECTORY:
        target = posixpath.join(target, plan.copy.name)
    uid, gid = _numbers(user)
    write = partial(_pack_at, plan, target, _missing_parents(engine, container, target), uid, gid)
    failed = f"cannot copy {plan.copy.source} to {plan.copy.target}"
    try:
        with _piped(write) as blocks:
            engine.client.put_archive(container, "/", blocks)
    except NotFound:
        raise
    except APIError as error:
        if error.status_code == 400 or "copier:" in text_of(error):  # the latter is podman's
            raise UsageError(f"{failed}: {text_of(error)}") from None
        raise engine.explain(error, f"copy {plan.copy.source}") from None
    except (DockerException, requests.RequestException) as error:
        raise engine.explain(error, f"copy {plan.copy.source}") from None
    except OSError as error:
        raise UsageError(f"{failed}: {error.strerror or error}") from None
    return CopyReport(1 + len(plan.members), plan.size, plan.refused)


def copy_out(
    engine: Engine, container: str, source: str, target: Path, take: Collection[str], before: BeforeCopy
) -> CopyReport:
    """Copy a path of a container to the host; what comes is hostile (see `backend.archive`).

    Raises:
        UsageError: there is no such path, or the target cannot be written.
        NotFound: there is no such container.
    """
    path = resolve(source)
    if path_mode(engine, container, path) is None:
        raise UsageError(f"there is no {path} in the bottle")
    with engine.errors(f"copy {source} out"):
        blocks, _ = engine.client.get_archive(container, path, chunk_size=_BLOCK)
        with contextlib.closing(blocks), io.BufferedReader(_Blocks(blocks), _BLOCK) as stream:
            return unpack(stream, target, take=take, before=before)


def resolve(path: str) -> str:
    """Return *path* absolute, relative ones below the bottle's home."""
    return posixpath.normpath(posixpath.join(GUEST_HOME, path))


def path_mode(engine: Engine, container: str, path: str) -> int | None:
    """Return the mode of a path in a container, as Go's os.FileMode; `None` when it does not exist.

    Asks `HEAD /containers/ID/archive` (Engine API 1.24), which the SDK has no method for.

    Raises:
        NotFound: there is no such container.
        BackendUnavailable: the engine does not answer.
    """
    with engine.errors(f"look at {path}"):
        url = engine.client._url("/containers/{0}/archive", container)
        answer = engine.client.head(url, params={"path": path}, timeout=engine.client.timeout)
        if answer.status_code == 404:
            engine.client.inspect_container(container)  # raises when that is what is missing
            return None
        engine.client._raise_for_status(answer)
    found: dict[str, Any] = json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))
    return int(found["mode"])


def _numbers(user: str) -> tuple[int, int]:
    uid, _, gid = {"root": "0"}.get(user, user).partition(":")
    if not uid.isdigit():
        return GUEST_UID, GUEST_UID
    return int(uid), int(gid) if gid.isdigit() else int(uid)


def _missing_parents(engine: Engine, container: str, target: str) -> list[str]:
    """Return the folders below the home that the engine would make as root's, outermost first."""
    missing: list[str] = []
    folder = posixpath.dirname(target)
    while folder.startswith(f"{GUEST_HOME}/") and path_mode(engine, container, folder) is None:
        missing.insert(0, folder)
        folder = posixpath.dirname(folder)
    return missing


def _pack_at(plan: CopyPlan, target: str, parents: list[str], uid: int, gid: int, file: IO[bytes]) -> None:
    for parent in parents:
        info = tarfile.TarInfo(parent.lstrip("/"))
        info.type, info.mode, info.uid, info.gid, info.mtime = tarfile.DIRTYPE, 0o755, uid, gid, int(time.time())
        file.write(info.tobuf(tarfile.PAX_FORMAT))
    pack(plan, file, name=target.lstrip("/"), uid=uid, gid=gid)


@contextlib.contextmanager
def _piped(write: Callable[[IO[bytes]], None]) -> Iterator[Iterator[bytes]]:
    """Turn a function that writes to a file into blocks to read, by a thread and a pipe."""
    read_end, write_end = os.pipe()
    failed: list[OSError] = []

    def run() -> None:
        try:
            with os.fdopen(write_end, "wb", buffering=_BLOCK) as file:
                write(file)
        except BrokenPipeError:
            pass  # the reader gave up, and knows why
        except OSError as error:
            failed.append(error)

    def blocks() -> Generator[bytes]:
        with os.fdopen(read_end, "rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                yield block
        if failed:
            raise failed[0]  # before the archive looks complete

    thread = threading.Thread(target=run, name="bb-docker-copy", daemon=True)
    reading = blocks()
    thread.start()
    try:
        yield reading
    finally:
        reading.close()
        thread.join()


class _Blocks(io.RawIOBase):
    """Blocks of bytes as a file."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)
        view = memoryview(buffer)
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
