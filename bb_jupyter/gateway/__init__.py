"""The trusted side of one bottle, two processes: the gateway for egress, the broker for git gate and supervise.

``python -m bb_jupyter.gateway`` is started by a backend outside the agent's reach (a host process for bubblewrap, a
container with only Python, aiohttp and cryptography for docker).  Listening sockets that live in the bottle's own
network namespace are handed to it; configuration, secrets included, arrives on its standard input.

``python -m bb_jupyter.broker`` is a process of this host whatever the backend, for it uses the host's git
identities and the user's approval queue: the packages `broker` and `git`.  `relay` carries its connections where no
socket can be passed.

Two halves of the gateway live in this package and meet only in the JSON lines of `config` and `events`:

* the process: ``__main__`` → `process` → `egress` → `tunnel` / `intercept`, with `policy`, `names`, `paths`,
  `addresses`, `hello`, `ca`, `headers`, `redact`, `flows`, `upstream`, `listeners`;
* the host: `plan` (what the preflight shows; the only module that knows manifests), `host_process` and `client`
  (start and steer the process), `audit` (what it reported), `suggest` (routes from what was denied).

Importing this package loads none of them.
"""

from __future__ import annotations

from typing import Final

PORTS: Final[dict[str, int]] = {"egress": 3128, "git-gate": 9418, "supervise": 9100}
"""Service name to the port on the bottle's 127.0.0.1 where the service is reached."""

GATE_ADDRESS: Final = "192.0.2.1"
"""Where a microVM reaches the services instead: an address of TEST-NET-1 (RFC 5737), which nobody has."""
