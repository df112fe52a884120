"""Copy files into and out of a machine by tar streams; `write_file` of the SDK stages the input of commands."""

from __future__ import annotations

import contextlib
import posixpath
import secrets
import shutil
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from bb_jupyter.backend.execution import Execution, StdoutFile
from bb_jupyter.backend.plan import GUEST_HOME, GUEST_UID
from bb_jupyter.backend.shared.archive import BeforeCopy, CopyReport, receive
from bb_jupyter.backend.shared.copying import CopyPlan, pack
from bb_jupyter.backend.smolmachines import sdk, shell
from bb_jupyter.backend.smolmachines.bottle_plan import SmolmachinesBottlePlan
from bb_jupyter.errors import UsageError
from bb_jupyter.text.visible import last_line

if TYPE_CHECKING:
    from smol import Machine

#: The user that sets a machine up.
ROOT = "0:0"
#: Bytes of one staged file: below the cloud's limit of a file request (100 MiB), and little memory here.
_PIECE = 16 << 20
_BUFFER = 1 << 20
#: Most bytes of an archive in memory; a longer one goes to a file.
_IN_MEMORY = 8 << 20


class RunningMachine(Protocol):
    """The part of `SmolmachinesBottle` by which files are copied."""

    plan: SmolmachinesBottlePlan
    machine: Machine

    @property
    def name(self) -> str:
        """Name of the bottle."""

    @property
    def slug(self) -> str:
        """Its identity."""

    @property
    def alive(self) -> bool:
        """Whether the machine runs."""

    def run_own(self, argv: Sequence[str], *, stdin: IO[bytes] | None = None) -> Execution:
        """Start a command of ours, as the agent, without a time limit."""


def stage(machine: Machine, source: IO[bytes]) -> list[str]:
    """Write *source* to files in the machine, for a command to read.

    Returns:
        The paths of the pieces, in order; at least one.

    Raises:
        SmolError: the machine refuses them.
    """
    stem = f"{shell.STAGE}/{secrets.token_hex(8)}"
    paths: list[str] = []
    while (piece := source.read(_PIECE)) or not paths:
        paths.append(f"{stem}.{len(paths)}")
        machine.write_file(paths[-1], piece)
    return paths


def copy_in(bottle: RunningMachine, plan: CopyPlan) -> CopyReport:
    """Copy what *plan* lists into the bottle.

    Raises:
        UsageError: it cannot be read, or not be written there.
        BottleGone: the bottle died.
    """
    failed = f"cannot copy {plan.copy.source} to {plan.copy.target}"
    found = bottle.run_own(shell.target(resolve(str(plan.copy.target)), plan.copy.name)).wait()
    folder, name = posixpath.split(posixpath.normpath(found.stdout.decode("utf-8", "surrogateescape")))
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as archive:
        try:
            pack(plan, archive, name=name, uid=GUEST_UID, gid=GUEST_UID)
        except OSError as error:
            raise UsageError(f"{failed}: {error.strerror or error}") from None
        archive.seek(0)
        done = bottle.run_own(shell.unpack(folder or "/"), stdin=archive).wait()
    if done.returncode:
        raise UsageError(f"{failed}: {last_line(done.stderr)}")
    return CopyReport(1 + len(plan.members), plan.size, plan.refused)


def copy_out(
    bottle: RunningMachine, source: str, target: Path, take: Collection[str], before: BeforeCopy
) -> CopyReport:
    """Copy a path of the bottle to the host; the archive is hostile (see `shared.archive`).

    Raises:
        UsageError: there is no such path, or the target cannot be written.
        BottleGone: the bottle died.
    """
    path = resolve(source)
    folder, name = posixpath.split(path)
    with bottle.run_own(shell.pack(path, folder, name or ".")) as execution:
        return receive(execution, f"cannot copy {source} out of '{bottle.name}'", target, take, before)


def pack_home(bottle: RunningMachine, file: IO[bytes]) -> str:
    """Write the bottle's home to *file* as a tar archive, which this host never reads.

    Returns:
        The last error of tar (such as an unreadable file), one line; empty for none.

    Raises:
        OSError: *file* cannot be written.
        BottleGone: the bottle died.
    """
    with bottle.run_own(shell.pack(GUEST_HOME, GUEST_HOME, ".")) as packing:
        shutil.copyfileobj(StdoutFile(packing), file, _BUFFER)
        done = packing.wait()
    file.flush()
    return last_line(done.stderr) if done.returncode else ""


def unpack_home(bottle: RunningMachine, archive: Path) -> None:
    """Put an archive of a home into a fresh bottle.

    Raises:
        UsageError: it does not fit.
        BottleGone: the bottle died.
    """
    with archive.open("rb") as file:
        done = bottle.run_own(shell.unpack(GUEST_HOME), stdin=file).wait()
    if done.returncode:
        raise UsageError(f"cannot branch '{bottle.plan.branch_of}': {last_line(done.stderr)}")


def remove_staged(machine: Machine, paths: list[str]) -> None:
    """Remove staged input; no error when the machine is gone."""
    from smol import ExecOptions, SmolError

    with contextlib.suppress(SmolError):
        machine.exec(shell.remove(paths), ExecOptions(user=ROOT, timeout=sdk.SHORT))


def resolve(path: str) -> str:
    """Return *path* as an absolute one; a relative path is below the bottle's home."""
    return posixpath.normpath(posixpath.join(GUEST_HOME, path))
