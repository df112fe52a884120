"""The gateway's image: nothing but what a gateway needs, made once, and words for a base that cannot be one."""

from __future__ import annotations

import docker
import pytest

from bb_jupyter.backend.base import Progress
from bb_jupyter.backend.docker.backend import DockerBackend
from bb_jupyter.backend.shared.container_engine import sidecar
from bb_jupyter.errors import BuildFailed
from tests.leftovers import Engine

_FILES = "find . -name '*.py' | sort; cat bb_jupyter/__init__.py; id -u; ls -ld /run/gateway"

#: What is copied whole.
_PACKAGES = ("./bb_jupyter/gateway/", "./bb_jupyter/policy/", "./bb_jupyter/process/")


def _obtain(api: docker.APIClient) -> tuple[str, list[Progress]]:
    shown: list[Progress] = []
    return sidecar.obtain_image(DockerBackend().engine(), shown.append), shown


def test_it_holds_the_gateway_and_nothing_else_of_ours(api: docker.APIClient, engine: Engine) -> None:
    image, _ = _obtain(api)
    with engine.client() as client:
        said = client.containers.run(image, ["sh", "-c", _FILES], remove=True).decode().splitlines()
        imports = "import sys, bb_jupyter.gateway.gateway_process as p; print('pydantic' in sys.modules, p.__file__)"
        loaded = client.containers.run(image, [sidecar.PYTHON, "-E", "-c", imports], remove=True).decode()
    files = [line for line in said if line.endswith(".py")]
    ours = {"./bb_jupyter/__init__.py", "./bb_jupyter/errors.py", "./bb_jupyter/home.py"}
    assert {file for file in files if not file.startswith(_PACKAGES)} == ours
    assert {"./bb_jupyter/gateway/gateway_process.py", "./bb_jupyter/gateway/handoff/mux.py"} <= {*files}
    assert not [file for file in files if "broker" in file or "supervise" in file or "/git/" in file]
    assert said[len(files)] == "65532"
    assert said[-1].startswith("drwx------")
    assert loaded.split() == ["False", "/opt/gateway/app/bb_jupyter/gateway/gateway_process.py"]


def test_it_is_made_once(api: docker.APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = _obtain(api)
    monkeypatch.setattr(sidecar, "_tags", {})  # as another process
    again, shown = _obtain(api)
    assert again == first
    assert shown == []


def test_a_base_that_cannot_have_python_is_said(
    api: docker.APIClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(sidecar.VARIABLE, engine.busybox_image)
    shown: list[Progress] = []
    with pytest.raises(BuildFailed, match=rf"gateway's image on {engine.busybox_image}") as told:
        sidecar.obtain_image(DockerBackend().engine(), shown.append)
    assert sidecar.VARIABLE in told.value.hint
    assert any(step.stage == "build gateway" for step in shown)
