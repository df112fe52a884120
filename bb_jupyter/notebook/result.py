"""What a cell's script left: the value of `--out`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from bb_jupyter.backend.execution import Completed


@dataclass(frozen=True)
class CellResult:
    """How the script of a cell ended.

    Attributes:
        returncode: its exit status; 128 + N when signal N ended it, 124 when its time limit did.
        stdout: its output as text, undecodable bytes replaced; head and tail when it was more than 8 MiB.
        stderr: the same of its standard error.
        duration: seconds.
        log: file with both as they were written; missing when there was no output.
        truncated: bytes missing from `stdout` and `stderr`.
        timed_out: its time limit ended it.
        interrupted: the user did.
    """

    returncode: int
    stdout: str = field(repr=False)
    stderr: str = field(repr=False)
    duration: float
    log: Path
    truncated: int = 0
    timed_out: bool = False
    interrupted: bool = False

    @classmethod
    def of(cls, completed: Completed, log: Path) -> CellResult:
        """Return the result of a command that ended."""
        return cls(
            returncode=completed.returncode,
            stdout=completed.stdout.decode("utf-8", "replace"),
            stderr=completed.stderr.decode("utf-8", "replace"),
            duration=completed.duration,
            log=log,
            truncated=completed.truncated,
            timed_out=completed.timed_out,
            interrupted=completed.killed and not completed.timed_out,
        )

    @property
    def ok(self) -> bool:
        """Whether it ended with exit status 0."""
        return self.returncode == 0
