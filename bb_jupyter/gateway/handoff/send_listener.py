"""Send a bottle's listening sockets to its gateway: ``python -m bb_jupyter.gateway.handoff.send_listener PATH``.

It runs for a moment in a container that shares the agent's network namespace (docker's ``network_mode=container:…``),
binds the gateway's port on that namespace's 127.0.0.1 and sends the listening sockets to the gateway's handoff socket.
Standard library only.
"""

from __future__ import annotations

import json
import socket
import sys
import time

from bb_jupyter.gateway import PORTS
from bb_jupyter.process.waiting import wait_until

#: Seconds that it stays afterwards: removing a container keeps the engine as busy as starting a command, and the bottle
#: starts its first command just now.
_LINGER = 1.0


def _listening(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen(128)
    return sock


def _connected(path: str, patience: float) -> socket.socket:
    """Connect to the gateway; it may still be starting."""

    def attempt() -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(patience)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            return None
        return sock

    found = wait_until(attempt, timeout=patience, poll=0.005)
    if found is None:
        raise TimeoutError(f"no gateway listens at {path}")
    return found


#: What the gateway serves; the other services are the broker's.
_SERVED = {"egress": PORTS["egress"]}


def hand_off(path: str, ports: dict[str, int] = _SERVED, *, patience: float = 60.0) -> str:
    """Bind the ports, send the sockets, and wait for the gateway's answer.

    Args:
        path: the gateway's handoff socket.
        ports: service name to port on 127.0.0.1.
        patience: seconds to wait for the gateway.

    Returns:
        ``ok``, or the error message of the gateway.

    Raises:
        OSError: a port is taken, or no gateway listens.
    """
    listeners = [_listening(port) for port in ports.values()]
    try:
        with _connected(path, patience) as sock:
            socket.send_fds(sock, [json.dumps([*ports]).encode()], [listener.fileno() for listener in listeners])
            return sock.recv(1024).decode()
    finally:
        for listener in listeners:
            listener.close()


def main(arguments: list[str]) -> int:
    """Send the sockets to the path in *arguments*; return 0 if the gateway took them."""
    try:
        answer = hand_off(arguments[0])
    except (OSError, IndexError) as error:
        answer = f"cannot send the listening sockets: {error}"
    if answer != "ok":
        sys.stderr.write(f"{answer}\n")
        return 1
    time.sleep(_LINGER)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
