"""A bottle as an agent provider sees it: run a command, write files, copy files in."""

from __future__ import annotations

import io
import tarfile
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, TypeVar

from bb_jupyter.agent.provision_plan import AgentProvisionPlan, GuestFile
from bb_jupyter.errors import BottleError, UsageError
from bb_jupyter.text.visible import last_line

#: Seconds that one step of provisioning may take.
STEP_TIMEOUT = 120.0


@dataclass(frozen=True)
class Command:
    """A command to run in a bottle.

    Attributes:
        argv: program and arguments; no shell is involved.
        stdin: what the command reads: bytes, or a binary file that is copied from; `None` is an empty input.
        env: variables beside those of the bottle.
        cwd: working directory; relative to the bottle's home; `None` is the bottle's default.
        user: user in the bottle; `None` is the bottle's default.
        timeout: seconds after which the whole process group is killed; `None` is the bottle's default.

    Raises:
        UsageError: argv is empty or has a NUL byte.
    """

    argv: tuple[str, ...]
    stdin: bytes | IO[bytes] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    user: str | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        if not self.argv or any("\0" in word for word in self.argv):
            raise UsageError("a command needs at least a program, and no NUL byte")


class CompletedCommand(Protocol):
    """How a command ended, as `bb_jupyter.backend.Completed` has it."""

    @property
    def returncode(self) -> int:
        """Its exit status."""

    @property
    def stdout(self) -> bytes:
        """What it wrote to its standard output."""

    @property
    def stderr(self) -> bytes:
        """What it wrote to its standard error."""


class RunningCommand(Protocol):
    """A command that runs, as `bb_jupyter.backend.Execution` is one."""

    def wait(self) -> CompletedCommand:
        """Wait for its end."""


_RunningT = TypeVar("_RunningT", covariant=True)


class CommandRunner(Protocol[_RunningT]):
    """Something that runs commands in a bottle.  A subclass implements `start`; `exec` is the same for all."""

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        timeout: float | None = None,
    ) -> _RunningT:
        """Start a command.

        Args:
            argv: program and arguments; no shell is involved.
            stdin: what the command reads: bytes, or a binary file that is copied from; `None` is an empty input.
            env: variables beside those of the bottle.
            cwd: working directory; relative to the bottle's home; by default that of the spec.
            user: user in the bottle; by default that of the spec.
            timeout: seconds after which the whole process group is killed; `None`: the limit of the spec.

        Returns:
            The execution.  A program that cannot be started ends with 127 (not found) or 126 and says why on stderr.

        Raises:
            BottleGone: the bottle died or was stopped.
            UsageError: an argument cannot be right (empty argv, NUL byte, unknown user).
        """
        return self.start(Command(tuple(argv), stdin, dict(env or {}), cwd, user, timeout))

    @abstractmethod
    def start(self, command: Command) -> _RunningT:
        """Start *command*; see `exec`."""


class Guest(CommandRunner[RunningCommand], Protocol):
    """A bottle, as `bb_jupyter.backend.Bottle` is one."""

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
        why = last_line(ended.stderr, f"exit status {ended.returncode}")
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
