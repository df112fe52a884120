"""The only network path of a local machine: the SDK's egress interceptor, which leads to the gateway.

The SDK offers two ways.  `allow_cidrs` could let the guest dial a loopback alias of the host.  A CIDR has no ports, so
that would open every port of the address, and every server on 0.0.0.0 answers there, Jupyter for one.  An interceptor
gets *every* admitted TCP connection, on any port, with the address that the guest dialled.  The SDK then dials nothing
itself and drops UDP and ICMP; without the interceptor there is no network (smol-machines/smolvm,
`docs/credential-substitution.md`, "External host interceptor").

So the machine may dial one address that no host has (`GATE_ADDRESS`) and resolve no name (`allow_hosts` filters its
DNS).  The interceptor passes the connections of each port on to its service, by a Unix socket in the bottle's state
directory, which other users cannot enter.  It is a process of its own: a busy kernel does not slow a bottle's network.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bb_jupyter.backend import state
from bb_jupyter.errors import BackendUnavailable
from bb_jupyter.home import private_dir
from bb_jupyter.process import trusted_child
from bb_jupyter.process.jsonl import encode, listen

if TYPE_CHECKING:
    from smol import EgressInterceptor

#: The file in the state directory that keeps an `Endpoint`, and the name that earlier versions gave it.
_FILE, _OLD_FILE = "egress-interceptor.json", "doorman.json"
#: Seconds until the interceptor must have ended after its standard input was closed.
_END = 5.0


@dataclass(frozen=True)
class Endpoint:
    """The address and token that a machine was started with; after `attach` the interceptor listens there again.

    Attributes:
        port: port on 127.0.0.1.
        token: 64 hexadecimal digits by which the machine's network authenticates itself.
    """

    port: int
    token: str

    def __repr__(self) -> str:
        return f"Endpoint({self.port})"


class Interceptor:
    """The process that answers a machine's connections.

    Args:
        endpoint: where it listens.
        folder: the bottle's state directory, with the services' sockets.
        process: the process.
    """

    def __init__(self, endpoint: Endpoint, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self._endpoint, self._folder, self._process = endpoint, folder, process

    @classmethod
    def open(cls, slug: str) -> Interceptor:
        """Start the egress interceptor of a new machine.

        Raises:
            BackendUnavailable: it does not start.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            endpoint = Endpoint(listener.getsockname()[1], secrets.token_hex(32))
            folder = private_dir(state.state_dir() / slug)
            descriptor = os.open(folder / _FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as file:  # noqa: PTH123 - a descriptor
                json.dump(asdict(endpoint), file)
            return cls(endpoint, folder, _spawn(listener, endpoint, folder))

    @classmethod
    def reopen(cls, slug: str) -> Interceptor:
        """Start an egress interceptor for a machine that runs already.

        Raises:
            BackendUnavailable: the file is lost, or another program listens at that port.
        """
        folder = state.state_dir() / slug
        try:
            file = next((file for name in (_FILE, _OLD_FILE) if (file := folder / name).exists()), folder / _FILE)
            endpoint = Endpoint(**json.loads(file.read_text()))
            listener = socket.create_server(("127.0.0.1", endpoint.port))
        except (OSError, ValueError, TypeError) as error:
            raise BackendUnavailable(
                f"the network of {slug} cannot be opened again: {error}", hint="Copy out what you need, and stop it."
            ) from None
        with listener:
            return cls(endpoint, folder, _spawn(listener, endpoint, folder))

    @property
    def binding(self) -> EgressInterceptor:
        """The setting of the machine."""
        from smol import EgressInterceptor

        return EgressInterceptor(f"127.0.0.1:{self._endpoint.port}", self._endpoint.token)

    def listen(self, service: str) -> socket.socket:
        """Return a new listening socket for a service; an earlier one gets no more connections."""
        return listen(self._folder / f"{service}.sock", 256)

    def close(self) -> None:
        """End the process.  Idempotent."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _spawn(listener: socket.socket, endpoint: Endpoint, folder: Path) -> subprocess.Popen[bytes]:
    """Start the process; its settings travel by its standard input, whose end-of-file ends it."""
    process = trusted_child.spawn(
        "bb_jupyter.backend.smolmachines.egress_interceptor_process",
        str(listener.fileno()),
        descriptors=[listener.fileno()],
        environment=["BOT_BOTTLE_HOME"],  # shows whose process it is
        stdout=subprocess.DEVNULL,
    )
    if process.stdin is None:
        raise RuntimeError("the process needs a pipe")
    try:
        process.stdin.write(encode(token=endpoint.token, folder=str(folder)))
        process.stdin.flush()
    except OSError as error:
        process.kill()
        process.wait()
        raise BackendUnavailable(f"the egress interceptor did not start: {error.strerror}") from None
    return process
