"""How a local machine reaches its gateway, and nothing else: the SDK's `Interceptor`.

Two ways were open.  To let the guest dial a loopback alias of the host (`allow_cidrs`) opens all ports of that address,
and what listens on 0.0.0.0 answers there, Jupyter itself for one; a CIDR knows no port.  The interceptor gets *every*
admitted TCP connection instead, whatever its port, with the address that the guest dialled, and the SDK never dials
anything by itself; UDP and ICMP are dropped, and an interceptor that died means no network (smol-machines/smolvm,
`docs/credential-substitution.md`, "External host interceptor").  So the machine may dial one address that nobody has
(`GATE_ADDRESS`) and ask for no name (`allow_hosts` filters its DNS), and the interceptor sends each port's
connections to the service of the gateway that it belongs to.  It is a process of its own: a busy kernel does not slow a
bottle's network.

The services and the egress interceptor meet at Unix sockets in the bottle's state directory, which other users cannot
enter.
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
#: Seconds that an egress interceptor gets to end by itself.
_END = 5.0


@dataclass(frozen=True)
class Endpoint:
    """The address and token that a machine was started with; after `attach` the interceptor listens there again.

    Attributes:
        port: on 127.0.0.1.
        token: 64 hexadecimal digits that the machine's network proves itself by.
    """

    port: int
    token: str

    def __repr__(self) -> str:
        return f"Endpoint({self.port})"


class Interceptor:
    """A process that answers a machine's connections.

    Args:
        endpoint: where.
        folder: the bottle's state directory, where services are met.
        process: it.
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
        """What the machine is started with."""
        from smol import EgressInterceptor

        return EgressInterceptor(f"127.0.0.1:{self._endpoint.port}", self._endpoint.token)

    def listen(self, service: str) -> socket.socket:
        """Return a new listening socket for a service; the one before gets no more connections."""
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
    """Start the process; what it must know comes by its standard input, whose end is its own."""
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
