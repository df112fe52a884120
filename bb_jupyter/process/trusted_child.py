"""Start a child process of this host that an agent cannot reach: a gateway, a broker, an egress interceptor.

Every such process starts here, so that one place decides what it inherits.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

#: Variables that every child gets: by which it finds programs, the user's folder and this package.
_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "PYTHONPATH", "PYTHONHOME")


def spawn(
    module: str,
    *arguments: str,
    descriptors: Sequence[int] = (),
    environment: Sequence[str] = (),
    stdout: int = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start `python -m MODULE ARGUMENTS…`; does not wait.

    The child is in a session of its own, since Jupyter interrupts and kills the whole process group of a kernel.  Its
    standard input is a pipe, whose end tells it to end; secrets travel by that pipe alone, never by arguments or
    variables.  Its standard error is thrown away.

    Args:
        module: the module to run.
        arguments: its arguments; other users of this host can read them.
        descriptors: descriptors that it inherits, under the same numbers; the caller closes its own.
        environment: names of variables of this process that it gets besides those that every child gets.
        stdout: its standard output: a pipe, or `subprocess.DEVNULL`.

    Raises:
        OSError: it cannot be started.
    """
    names = (*_ENVIRONMENT, *environment)
    return subprocess.Popen(
        # -P and another directory: the child must never import a module from the notebook's folder.
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        pass_fds=descriptors,
        cwd="/",
        env={name: value for name in names if (value := os.environ.get(name)) is not None},
        start_new_session=True,
    )
