"""The SDK's native engine, played: its machines are sandboxes of bubblewrap, everything above it is the SDK's own.

`check` compares what is played with what the installed SDK has, so that a version that changes its engine is noticed.
"""

from __future__ import annotations

import inspect
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from bb_jupyter.backend import Bottle, BottleSpec
from bb_jupyter.backend.bubblewrap.backend import BubblewrapBackend
from bb_jupyter.backend.execution import Execution
from bb_jupyter.manifest import Limits

#: The address that machines reach the gateway by.
_GATE = "192.0.2.1"
#: What the engine's options may hold, as the SDK's own transport fills them.
_OPTIONS = {"workdir", "timeout_ms", "user", "env", "stdin"}


class Stream:
    """A command's events; `kill` kills the command, as the engine's does."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._events = self._read()

    def _read(self) -> Iterator[dict[str, Any]]:
        for chunk in self._execution:
            yield {"kind": chunk.stream, "data": chunk.data.decode("utf-8", "replace")}
        yield {"kind": "exit", "exit_code": self._execution.wait().returncode}

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> dict[str, Any]:
        return next(self._events)

    def kill(self) -> None:
        self._execution.kill()


class Machine:
    """A machine of the played engine.

    Attributes:
        machines: those that exist, by name.
    """

    machines: ClassVar[dict[str, Machine]] = {}

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.interceptor: tuple[str, str] | None = None
        self._stack = ExitStack()
        self._bottle: Bottle | None = None
        self.machines[self.name] = self

    @staticmethod
    def check_host() -> tuple[bool, str | None, str | None]:
        return True, None, None

    @property
    def name(self) -> str:
        return str(self.config["name"])

    def start(self, interceptor_address: str | None = None, interceptor_token: str | None = None) -> None:
        if interceptor_address and interceptor_token:
            self.interceptor = (interceptor_address, interceptor_token)
        memory = self.config["resources"]["memory_mib"] << 20
        spec = BottleSpec(name=self.name, backend="bubblewrap", limits=Limits(memory=memory, pids=512))
        backend = BubblewrapBackend()
        plan = backend.prepare(spec, slug=self.name, stage_dir=Path())
        self._bottle = self._stack.enter_context(backend.launch(plan))

    def state(self) -> str:
        return "running" if self._bottle is not None and self._bottle.alive else "stopped"

    def guest_ports(self) -> list[int]:
        return []

    def _start(self, command: list[str], options: dict[str, Any] | None) -> Execution:
        options = options or {}
        assert set(options) <= _OPTIONS
        if self._bottle is None or not self._bottle.alive:
            raise RuntimeError("[NOT_FOUND] no such machine")
        if options.get("user") not in (None, "0:0", "1000:1000"):
            raise RuntimeError(f"[INVALID_CONFIG] unable to find user {options['user']}")
        return self._bottle.exec(
            command,
            env={entry["key"]: entry["value"] for entry in options.get("env", ())},
            cwd=options.get("workdir") or "/",
            stdin=options["stdin"].encode() if "stdin" in options else None,
            timeout=options["timeout_ms"] / 1000 if "timeout_ms" in options else None,
        )

    def exec(self, command: list[str], options: dict[str, Any] | None = None, cancel: object = None) -> SimpleNamespace:
        done = self._start(command, options).wait()
        stdout, stderr = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        return SimpleNamespace(exit_code=done.returncode, stdout=stdout, stderr=stderr)

    def exec_stream(self, command: list[str], options: dict[str, Any] | None = None) -> Stream:
        return Stream(self._start(command, options))

    def write_file(self, path: str, data: bytes, mode: int | None = None) -> None:
        assert self._bottle is not None
        script = 'mkdir -p "${1%/*}" && cat >"$1"'
        assert self._bottle.exec(["sh", "-c", script, "sh", path], stdin=bytes(data)).wait().returncode == 0

    def read_file(self, path: str) -> bytes:
        assert self._bottle is not None
        return self._bottle.exec(["cat", path]).wait().stdout

    def stop(self, drain_secs: float | None = None, timeout_secs: float | None = None) -> None:
        self._stack.close()

    def delete(self, drain_secs: float | None = None) -> None:
        self._stack.close()
        self.machines.pop(self.name, None)

    @staticmethod
    def delete_by_name(name: str, drain_secs: float | None = None) -> None:
        if found := Machine.machines.get(name):
            found.delete()

    @staticmethod
    def open(name: str) -> Machine:
        if name not in Machine.machines:
            raise RuntimeError(f"[NOT_FOUND] no machine {name}")
        return Machine.machines[name]

    @staticmethod
    def list() -> list[SimpleNamespace]:
        return [
            SimpleNamespace(
                name=machine.name,
                state=machine.state(),
                labels=machine.config.get("labels") or {},
                image=machine.config.get("image"),
                persistent=machine.config["persistent"],
                detached=machine.config["detached"],
                branchable=machine.config["forkable"],
                created_at=int(time.time()),
                pid=None,
                cpus=1,
                memory_mib=machine.config["resources"]["memory_mib"],
                storage_gib=1,
                ports=[],
            )
            for machine in [*Machine.machines.values()]
        ]


def signatures(kind: type) -> dict[str, list[str]]:
    """Return the parameters of a class's public methods, without `self`."""
    found = {}
    for name in vars(kind):
        method = getattr(kind, name)
        if not name.startswith("_") and callable(method):
            found[name] = [parameter for parameter in inspect.signature(method).parameters if parameter != "self"]
    return found


def dial(port: int, address: str = _GATE, *, token: str | None = None, magic: bytes = b"SMOLICPT\x01") -> socket.socket:
    """Connect as the machine's network does, up to its greeting."""
    (machine,) = Machine.machines.values()
    assert machine.interceptor is not None
    place, own = machine.interceptor
    host, _, door = place.rpartition(":")
    connection = socket.create_connection((host, int(door)), timeout=20)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    number = 6 if family == socket.AF_INET6 else 4
    greeting = magic + bytes.fromhex(token or own) + struct.pack(">BH", number, port)
    connection.sendall(greeting + socket.inet_pton(family, address))
    return connection


def verdict(port: int, address: str = _GATE, **how: object) -> bytes:
    with dial(port, address, **how) as connection:  # type: ignore[arg-type]
        try:
            return connection.recv(1)
        except ConnectionError:
            return b""


def answers(port: int) -> bool:
    """Whether the only machine reaches a service at *port*."""
    return verdict(port) == b"\0"
