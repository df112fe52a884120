"""Containers of a bottle's trusted side (gateway, handoff container, relay), and their one image.

The image is built once from the package's own `gateway/Dockerfile` and files.  Its base needs Python 3.11 (or a Debian
that has it).  The base is `BOT_BOTTLE_GATEWAY_BASE_IMAGE`; else `BOT_BOTTLE_BASE_IMAGE`, because a user who sets that
one has it where others cannot be pulled; else `DEFAULT_BASE`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from docker.types import Mount

from bb_jupyter.backend.base import OnProgress
from bb_jupyter.backend.shared import image_choice
from bb_jupyter.backend.shared.container_engine import image, image_build
from bb_jupyter.backend.shared.container_engine.engine import Engine
from bb_jupyter.errors import BuildFailed

#: Small, with pip, and of the same C library as the wheels of what is installed there.
DEFAULT_BASE = "python:3.12-slim-bookworm"
VARIABLE = "BOT_BOTTLE_GATEWAY_BASE_IMAGE"
#: The user of a sidecar: nobody that any image knows ("nonroot" of the distroless images).
USER = "65532:65532"
#: Where the volume is that the gateway and its handoff containers share.
MEETING = "/run/gateway"
PYTHON = "/opt/gateway/bin/python"

_PACKAGE = Path(__file__).parents[3]
#: What the gateway needs of other projects, in the versions that are tried and tested on this host.
_REQUIREMENTS = ("aiohttp", "cryptography")
#: What else goes into the image → its tag: the files of a running package do not change.
_tags: dict[bytes, str] = {}


def base_image() -> str:
    """Return the name of the image that the gateway's is built on."""
    return os.environ.get(VARIABLE) or os.environ.get(image_choice.VARIABLE) or DEFAULT_BASE


def obtain_image(engine: Engine, on_progress: OnProgress) -> str:
    """Return the id of the gateway's image, pulled and built where it is missing.

    Raises:
        BackendUnavailable: its base cannot be pulled.
        BuildFailed: it cannot be built.
    """
    base = base_image()
    base_id = str((image.inspect(engine, base) or image.pull(engine, base, on_progress))["Id"])
    settings = image_build.settings(base, base_id)
    known = image.inspect(engine, _tags[settings]) if settings in _tags else None
    if known:
        return str(known["Id"])
    with _context() as dockerfile:
        _tags[settings] = image_build.tag(dockerfile, base, base_id)
        try:
            return image_build.build(engine, dockerfile, base, base_id, on_progress)
        except BuildFailed as error:
            needed = " and ".join(_REQUIREMENTS)
            hint = f"{VARIABLE} names another base; it needs Python 3.11 and a way to install {needed}."
            raise BuildFailed(f"the gateway's image on {base}: {error.message}", hint=hint) from None


@contextmanager
def _context() -> Iterator[Path]:
    """Give the Dockerfile in a folder with all that it copies; file modes are the same whatever the umask is."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "gateway")
        package = root / "bb_jupyter"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()  # ours imports what a gateway has not
        for name in ("gateway", "policy", "process"):
            shutil.copytree(_PACKAGE / name, package / name, ignore=shutil.ignore_patterns("__pycache__", "Dockerfile"))
        for name in ("errors.py", "home.py"):
            shutil.copyfile(_PACKAGE / name, package / name)
        (root / "requirements.txt").write_text("".join(f"{name}=={version(name)}\n" for name in _REQUIREMENTS))
        shutil.copyfile(_PACKAGE / "gateway/Dockerfile", root / "Dockerfile")
        for path in root.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield root / "Dockerfile"


def create(
    engine: Engine,
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
    """Create a container that runs a module of the sidecar image, as nobody, with nothing writable but its mounts.

    Args:
        engine: where the bottle runs.
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
    config = engine.client.create_container_config(
        image_id,
        # `-E`: no variable of an image changes what Python does.
        [PYTHON, "-E", *module],
        user=USER,
        stdin_open=stdin,
        labels=dict(labels),
        stop_signal="SIGKILL",
        healthcheck=engine.healthcheck,
        host_config=engine.client.create_host_config(
            network_mode=network,
            mounts=list(mounts),
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            ipc_mode="private",
            log_config={"Type": "none"},
            ulimits=engine.ulimits(),
            mem_limit=memory,
            memswap_limit=memory,
            pids_limit=pids,
        ),
    )
    engine.client.create_container_from_config(config, name)
