"""Building an image from a Dockerfile: once for the same content, the log shown as it comes."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docker.errors import APIError
from docker.utils.build import create_archive, exclude_paths

from bb_jupyter.backend.base import OnProgress, Progress
from bb_jupyter.backend.shared.container_engine.engine import Engine, text_of
from bb_jupyter.errors import BuildFailed, UsageError

#: Build arguments that Docker knows without a declaration; the host's values are passed on.
_PROXY_ARGS = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
#: Variables that name the host's CA bundle, and by which the tools in a build are told to trust it.
_CA_VARIABLES = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "PIP_CERT", "GIT_SSL_CAINFO",
)  # fmt: skip
#: The host's CA bundle in every build context; empty when the host names none.
CA_FILE = "bb-ca.crt"
#: Where a Dockerfile that copies it puts it.
_CA_IN_IMAGE = f"/usr/local/share/ca-certificates/{CA_FILE}"
_STEP = re.compile(r"(?:Step|STEP) (\d+)/(\d+) ?: ")
#: The builder paints what a step writes to stderr red.
_COLOUR = re.compile(r"\x1b\[(?:91|0)m")
#: How many lines of the log an error shows.
_LAST = 10


def tag(dockerfile: Path, base: str, base_id: str) -> str:
    """Return the tag of the image that *dockerfile* makes on the base image: a hash of all that goes into it.

    Raises:
        UsageError: the build context cannot be read.
    """
    digest = hashlib.sha256(settings(base, base_id))
    try:
        for path in _context(dockerfile):
            digest.update(_fingerprint(dockerfile.parent, path))
    except OSError as error:
        raise UsageError(f"cannot read {error.filename} of the build context: {error.strerror}") from None
    return f"bb-jupyter/{_slug(dockerfile.parent.name)}:{digest.hexdigest()[:16]}"


def settings(base: str, base_id: str) -> bytes:
    """Return what goes into an image beside its build context: the base, and what the host says of certificates."""
    args = "".join(f"\0{name}={value}" for name, value in sorted(_build_args(base).items()))
    return f"{base_id}{args}{ca_bundle()}".encode()


def build(engine: Engine, dockerfile: Path, base: str, base_id: str, on_progress: OnProgress) -> str:
    """Build the image of *dockerfile* unless it exists.

    Returns:
        The id of the image.

    Raises:
        BuildFailed: a step failed; the message ends in the log's last lines.
        BackendUnavailable: the engine does not answer, or its disk is full.
    """
    name = tag(dockerfile, base, base_id)
    with engine.errors(f"build {dockerfile}"):
        if not engine.client.images(name):
            _run(engine, dockerfile, name, _build_args(base), on_progress)
        return str(engine.client.inspect_image(name)["Id"])


def ca_bundle() -> str:
    """Return the CA certificates that this host's environment names, in PEM; empty when it names none."""
    for variable in _CA_VARIABLES:
        path = Path(os.environ.get(variable) or "/nonexistent")
        if path.is_file():
            return path.read_text(errors="replace")
    return ""


def _build_args(base: str) -> dict[str, str]:
    args = {"BASE_IMAGE": base}
    if ca_bundle():
        args |= dict.fromkeys(("BB_CA_BUNDLE", *_CA_VARIABLES), _CA_IN_IMAGE)
    for name in _PROXY_ARGS:
        args |= {key: os.environ[key] for key in (name, name.lower()) if key in os.environ}
    return args


def _run(engine: Engine, dockerfile: Path, name: str, args: dict[str, str], on_progress: OnProgress) -> None:
    with tempfile.TemporaryFile() as context:
        root = str(dockerfile.parent)
        create_archive(root, _context(dockerfile), context, extra_files=[(CA_FILE, ca_bundle())])
        try:
            log = engine.client.build(
                fileobj=context, custom_context=True, dockerfile=dockerfile.name, tag=name, buildargs=args, rm=True,
                forcerm=True, decode=True, labels={"bb-jupyter.image": "built"},
            )  # fmt: skip
            _follow(dockerfile, log, on_progress)
        except APIError as error:
            raise BuildFailed(f"{dockerfile}: {text_of(error)}") from None


def _follow(dockerfile: Path, log: Iterable[dict[str, Any]], on_progress: OnProgress) -> None:
    """Show the log; `stream` holds pieces of lines, `error` ends it."""
    last: deque[str] = deque(maxlen=_LAST)
    done = total = 0
    for message in log:
        for line in _COLOUR.sub("", str(message.get("stream", ""))).splitlines():
            if found := _STEP.match(line):
                done, total = int(found[1]) - 1, int(found[2])
            if line.strip():
                last.append(line)
                on_progress(Progress(f"build {dockerfile.parent.name}", done, total, line))
        if "error" in message:
            text = "\n".join([*last, str(message["error"]).strip()])
            raise BuildFailed(
                f"{dockerfile}: step {done + 1} of {total} failed\n{text}" if total else f"{dockerfile}: {text}"
            )
    on_progress(Progress(f"build {dockerfile.parent.name}", total, total))


def _context(dockerfile: Path) -> list[str]:
    """Return the files of the build context, relative to the Dockerfile's folder; `.dockerignore` keeps others out."""
    root = dockerfile.parent
    ignore = root / ".dockerignore"
    patterns = ignore.read_text().splitlines() if ignore.is_file() else []
    patterns = [line.strip() for line in patterns if line.strip() and not line.startswith("#")]
    return sorted(exclude_paths(str(root), patterns, dockerfile=dockerfile.name))


def _fingerprint(root: Path, path: str) -> bytes:
    file = root / path
    mode = file.lstat().st_mode
    content = b""
    if stat.S_ISLNK(mode):
        content = os.fsencode(file.readlink())
    elif stat.S_ISREG(mode):
        content = file.read_bytes()
    return f"\0{path}\0{mode:o}\0".encode("utf-8", "surrogateescape") + hashlib.sha256(content).digest()


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "image"
