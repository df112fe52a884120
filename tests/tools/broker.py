"""Bottles whose broker has stand-ins for its services: how they are reached is what is tested, not what they do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bb_jupyter import manifest
from bb_jupyter.broker import broker_client
from bb_jupyter.core.bottle_handle import BottleHandle

GIT, SUPERVISE = "http://git-gate:9418", "http://supervise:9100"
CURL = "curl -sS --max-time 60"
_FOLDER = Path(__file__).parent / "broker_services"
_STAND_INS = {"git-gate": "stand_in_services:git_gate", "supervise": "stand_in_services:supervise"}
#: Options of a broker that serves the stand-ins.
OPTIONS = [f"--service={name}={application}" for name, application in _STAND_INS.items()]
#: Lines of a program that launches bottles with such brokers.
IN_CHILD = f"from bb_jupyter.broker.broker_client import replaced_services\nreplaced_services.update({_STAND_INS!r})\n"


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every broker that this process starts from now on serve `broker_services`."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(_FOLDER), os.environ.get("PYTHONPATH")))))
    monkeypatch.setattr(broker_client, "replaced_services", _STAND_INS)


def define(name: str, repository: Path | None = None, *, supervise: bool = True, more: str = "") -> str:
    """Define a bottle with a broker and return its name."""
    gate = f"git-gate:\n  user: {{name: A, email: a@b.test}}\n  repos: {{widgets: {{url: {repository}}}}}\n"
    manifest.define_bottle(name, (gate if repository else "") + f"supervise: {str(supervise).lower()}\n{more}")
    return name


def broker_pid(handle: BottleHandle) -> int:
    """Return the broker's process."""
    client = handle.bottle.broker._client
    assert client is not None
    return client.pid


def peak_memory(pid: int) -> int:
    """Return the most memory that a process has had, in bytes."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10
