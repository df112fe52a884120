"""A gateway as a process of this host, which may be started before its sockets and its configuration are there."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Final

from bb_jupyter.errors import BackendUnavailable

_PASSED_ON: Final = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONPATH", "PYTHONHOME")


class GatewayProcess:
    """Starts ``python -m bb_jupyter.gateway``, which loads what it needs and waits.

    Attributes:
        popen: the process; the end of its standard input ends it.
    """

    def __init__(self) -> None:
        self._handoff, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # -P and another directory: a module in the notebook's folder must never be imported by the gateway.
        command = [sys.executable, "-P", "-m", "bb_jupyter.gateway", f"--handoff-fd={theirs.fileno()}"]
        with theirs:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                cwd="/",
                env={name: value for name in _PASSED_ON if (value := os.environ.get(name)) is not None},
                start_new_session=True,
            )

    def give(self, listeners: Mapping[str, int]) -> None:
        """Pass it listening sockets, once; does not wait.

        Args:
            listeners: service name to descriptor; the caller keeps (and closes) its own.
        """
        with contextlib.suppress(OSError):  # if it is dead, whoever waits for it is told
            socket.send_fds(self._handoff, [json.dumps([*listeners]).encode()], [*listeners.values()])

    def wait_given(self, timeout: float) -> None:
        """Wait until it has taken the sockets.

        Raises:
            BackendUnavailable: they are not what they should be, or it ended.
        """
        self._handoff.settimeout(timeout)
        try:
            answer = self._handoff.recv(1024).decode()
        except OSError:
            answer = ""
        finally:
            self._handoff.close()
        if answer != "ok":
            raise BackendUnavailable(f"the bottle's gateway did not take its sockets: {answer or 'it ended'}")

    def kill(self) -> None:
        """End it at once.  Idempotent."""
        self._handoff.close()
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
