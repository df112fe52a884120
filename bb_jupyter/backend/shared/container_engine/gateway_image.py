"""The image of gateways and handoffs: built once from the package's own `gateway/Dockerfile` and files.

Its base needs Python 3.11 (or a Debian that has it).  Which one: `BOT_BOTTLE_GATEWAY_BASE_IMAGE`; else
`BOT_BOTTLE_BASE_IMAGE`, for who names that image has it where others cannot be pulled; else `DEFAULT_BASE`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import docker

from bb_jupyter.backend.base import OnProgress
from bb_jupyter.backend.shared import image_choice
from bb_jupyter.backend.shared.container_engine import image, image_build
from bb_jupyter.errors import BuildFailed

#: Small, with pip, and of the same C library as the wheels of what is installed there.
DEFAULT_BASE = "python:3.12-slim-bookworm"
VARIABLE = "BOT_BOTTLE_GATEWAY_BASE_IMAGE"
#: Who a gateway is in its container: nobody that any image knows ("nonroot" of the distroless images).
USER = "65532:65532"
#: Where gateway and handoff meet.
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


def obtain(client: docker.APIClient, on_progress: OnProgress) -> str:
    """Return the id of the gateway's image, pulled and built where it is missing.

    Raises:
        BackendUnavailable: its base cannot be pulled.
        BuildFailed: it cannot be built.
    """
    base = base_image()
    base_id = str((image.inspect(client, base) or image.pull(client, base, on_progress))["Id"])
    settings = image_build.settings(base, base_id)
    known = image.inspect(client, _tags[settings]) if settings in _tags else None
    if known:
        return str(known["Id"])
    with _context() as dockerfile:
        _tags[settings] = image_build.tag(dockerfile, base, base_id)
        try:
            return image_build.build(client, dockerfile, base, base_id, on_progress)
        except BuildFailed as error:
            hint = f"{VARIABLE} names another base; it needs Python 3.11 and a way to install {_words()}."
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


def _words() -> str:
    return " and ".join(_REQUIREMENTS)
