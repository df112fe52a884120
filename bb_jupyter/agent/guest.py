"""A bottle as a provider needs it, and the two things that every provider does to one: write files, run a command."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from bb_jupyter.agent.provision_plan import AgentProvisionPlan, GuestFile
from bb_jupyter.errors import BottleError

#: Seconds that one step of provisioning may take.
STEP_TIMEOUT = 120.0


class Ended(Protocol):
    """How a command ended."""

    @property
    def returncode(self) -> int:
        """Its exit status."""

    @property
    def stdout(self) -> bytes:
        """What it wrote."""

    @property
    def stderr(self) -> bytes:
        """What it complained of."""


class Command(Protocol):
    """A command that runs."""

    def wait(self) -> Ended:
        """Wait for its end."""


class Guest(Protocol):
    """A bottle, as `bb_jupyter.backend.Bottle` is one."""

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        timeout: float | None = None,
    ) -> Command:
        """Start a command; see `Bottle.exec`."""

    def cp_in(self, source: Path, target: str) -> object:
        """Copy into the bottle; see `Bottle.cp_in`."""


class GuestPlan(Protocol):
    """What a provider needs to know of a launch, as `bb_jupyter.backend.BottlePlan` has it."""

    @property
    def guest_home(self) -> str:
        """The agent's home in the bottle."""

    @property
    def agent_provision(self) -> AgentProvisionPlan | None:
        """What the provider planned."""

    @property
    def git_gate_insteadof_host(self) -> str:
        """Host (and port) of the git gate."""

    @property
    def git_gate_insteadof_scheme(self) -> str:
        """Scheme of the git gate."""


def run(bottle: Guest, what: str, argv: Sequence[str], stdin: bytes | None = None, *, cwd: str | None = None) -> bytes:
    """Run a command that has to succeed.

    Args:
        bottle: where.
        what: what it does, for the error: `write the agent's files`.
        argv: program and arguments.
        stdin: what it reads.
        cwd: working directory.

    Returns:
        What it wrote.

    Raises:
        BottleError: it failed; the message ends in its last line.
    """
    ended = bottle.exec(argv, stdin=stdin, cwd=cwd, timeout=STEP_TIMEOUT).wait()
    if ended.returncode:
        lines = ended.stderr.decode("utf-8", "replace").strip().splitlines()
        why = lines[-1] if lines else f"exit status {ended.returncode}"
        raise BottleError(f"cannot {what} in the bottle: {why}")
    return ended.stdout


def write_files(bottle: Guest, home: str, files: Iterable[GuestFile]) -> None:
    """Write files into the agent's home, all by one command; `tar` is in every image that has a shell.

    Raises:
        BottleError: it failed.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for file in files:
            entry = tarfile.TarInfo(file.path)
            entry.size, entry.mode = len(file.content), file.mode
            archive.addfile(entry, io.BytesIO(file.content))
    run(bottle, "write the agent's files", ["tar", "-xof", "-", "-C", home], buffer.getvalue())
