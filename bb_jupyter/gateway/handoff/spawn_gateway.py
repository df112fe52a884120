"""Start a gateway as a process of this host, possibly before its sockets and configuration exist."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Mapping

from bb_jupyter.errors import BackendUnavailable
from bb_jupyter.process import trusted_child


class GatewayProcess:
    """A gateway that loads its modules and waits for sockets and configuration.

    Attributes:
        popen: the process; end-of-file on its standard input ends it.
    """

    def __init__(self) -> None:
        self._handoff, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.popen = trusted_child.spawn(
                "bb_jupyter.gateway",
                f"--handoff-fd={theirs.fileno()}",
                descriptors=[theirs.fileno()],
                environment=("SSL_CERT_FILE", "SSL_CERT_DIR"),
            )

    def give(self, listeners: Mapping[str, int]) -> None:
        """Send it the listening sockets, once; do not wait for the answer.

        Args:
            listeners: service name to descriptor; the caller keeps (and closes) its own.
        """
        with contextlib.suppress(OSError):  # `wait_given` finds out that it is dead
            socket.send_fds(self._handoff, [json.dumps([*listeners]).encode()], [*listeners.values()])

    def wait_given(self, timeout: float) -> None:
        """Wait up to *timeout* seconds until it has taken the sockets.

        Raises:
            BackendUnavailable: they are no listening sockets, or it ended.
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
        """Kill it.  Idempotent."""
        self._handoff.close()
        self.popen.kill()
        self.popen.wait()
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
