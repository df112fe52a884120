"""Any image, made a home: one thin layer with /home/agent and its user, committed once per image.

Putting the home into each new container would cost an archive upload a launch (60 ms of 280 ms measured on 20.10).
"""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from pathlib import PurePosixPath
from typing import Any

from docker.errors import NotFound

from bb_jupyter.backend.plan import GUEST_HOME, GUEST_UID, GUEST_USER
from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.errors import UsageError

#: Version of the recipe below: a new one makes new layers.
_RECIPE = "3"
_REPOSITORY = "bb-jupyter/guest"
_lock = threading.Lock()


def tag(image_id: str) -> str:
    """Return the name of the guest image made of the image *image_id*; it may not exist yet."""
    return f"{_REPOSITORY}:{hashlib.sha256(f'{_RECIPE}:{image_id}'.encode()).hexdigest()[:16]}"


def make(engine: Engine, image_id: str) -> None:
    """Make the guest image of *image_id* unless it exists.

    Raises:
        BackendUnavailable: the engine refuses, or the image is gone.
        UsageError: the image declares a volume where the home goes.
    """
    with _lock, engine.errors(f"prepare image {image_id[:19]}"):
        if engine.client.images(tag(image_id)):
            return
        image = engine.client.inspect_image(image_id)
        _check_volumes(image["Config"] or {})
        scratch = engine.client.create_container(image_id, ["/bin/sh"], network_disabled=True)["Id"]
        try:
            engine.client.put_archive(scratch, "/", _layer(engine, scratch))
            repository, name = tag(image_id).split(":")
            engine.client.commit(scratch, repository, name, changes=_changes(image_id, image["Config"] or {}))
        finally:
            engine.client.remove_container(scratch, force=True, v=True)


def _check_volumes(config: dict[str, Any]) -> None:
    """Refuse an image whose volumes would hide what is put into it."""
    for volume in config.get("Volumes") or ():
        if any(PurePosixPath(path).is_relative_to(volume) for path in (GUEST_HOME, "/etc")):
            raise UsageError(
                f"the image declares a volume at {volume}, which would hide the bottle's home or users",
                hint="Name an image without it: --image NAME.",
            )


def _changes(image_id: str, config: dict[str, Any]) -> list[str]:
    """Return what to change of the image's settings, as lines of a Dockerfile: what it runs is not for us."""
    labels = ["LABEL bb-jupyter.image=guest", f"LABEL bb-jupyter.base={image_id}"]  # podman takes one a line
    changes = [*labels, "ENTRYPOINT []", 'CMD ["/bin/sh"]', f"WORKDIR {GUEST_HOME}"]
    known = {variable.partition("=")[0] for variable in config.get("Env") or ()}
    return changes + ([] if "LANG" in known else ["ENV LANG=C.UTF-8"])


def _layer(engine: Engine, container: str) -> bytes:
    """Return a tar archive of the home, open to every user of the bottle, and of the user database with the agent."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        home = tarfile.TarInfo(GUEST_HOME.lstrip("/"))
        home.type, home.mode, home.uid, home.gid = tarfile.DIRTYPE, 0o777, GUEST_UID, GUEST_UID
        archive.addfile(home)
        _add_entry(archive, engine, container, "etc/passwd", f"{GUEST_USER}:x:%d:%d::{GUEST_HOME}:/bin/sh\n")
        _add_entry(archive, engine, container, "etc/group", f"{GUEST_USER}:x:%d:\n")
    return buffer.getvalue()


def _add_entry(archive: tarfile.TarFile, engine: Engine, container: str, path: str, entry: str) -> None:
    """Add the database *path* with the agent's line, unless the image gives that number to somebody already."""
    known = _read(engine, container, f"/{path}")
    if any(line.split(b":")[2:3] == [str(GUEST_UID).encode()] for line in known.splitlines()):
        return
    if known and not known.endswith(b"\n"):
        known += b"\n"
    content = known + entry.replace("%d", str(GUEST_UID)).encode()
    info = tarfile.TarInfo(path)
    info.size, info.mode = len(content), 0o644
    archive.addfile(info, io.BytesIO(content))


def _read(engine: Engine, container: str, path: str) -> bytes:
    """Return a small file of the container; nothing when it is missing."""
    try:
        parts, _ = engine.client.get_archive(container, path)
    except NotFound:
        return b""
    with tarfile.open(fileobj=io.BytesIO(b"".join(parts))) as archive:
        member = archive.next()
        file = archive.extractfile(member) if member and member.isreg() else None
        return file.read() if file else b""
