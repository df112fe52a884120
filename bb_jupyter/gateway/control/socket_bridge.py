"""Joins standard input and output to a control socket: ``python -m bb_jupyter.gateway.control.socket_bridge PATH``.

While its owner lives, a gateway takes control messages on its own standard input.  For a bottle that outlived its
owner, this program runs by ``exec`` in the gateway's container and carries the same JSON lines.  Standard library only.
"""

from __future__ import annotations

import os
import socket
import sys
import threading


def join(path: str, source: int = 0, target: int = 1) -> None:
    """Copy both ways until the gateway closes; the end of *source* ends the conversation, not the gateway.

    Args:
        path: the control socket.
        source: descriptor to read messages from.
        target: descriptor to write events to.

    Raises:
        OSError: there is no gateway at *path*.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        threading.Thread(target=_send, args=(source, sock), daemon=True).start()
        while data := sock.recv(65536):
            while data:
                data = data[os.write(target, data) :]


def _send(source: int, sock: socket.socket) -> None:
    try:
        while data := os.read(source, 65536):
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return


if __name__ == "__main__":
    try:
        join(sys.argv[1])
    except (OSError, IndexError) as error:
        sys.exit(f"no gateway to control: {error}")
