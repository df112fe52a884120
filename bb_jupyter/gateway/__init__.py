"""The gateway of a bottle: one process outside the agent's reach through which all of the bottle's traffic passes.

A backend starts ``python -m bb_jupyter.gateway``: bubblewrap and smolmachines on the host, docker and podman in a
container that holds only Python, aiohttp and cryptography.  The bottle's listening sockets are handed off to it.  Its
configuration, secrets included, arrives on standard input.  The broker (`bb_jupyter.broker`), a second process per
bottle, is always on the host.

A request takes this way: `gateway_process` → `handoff.listeners` → `proxy.egress_proxy` → `proxy.tunnel` or
`proxy.intercept`; `bb_jupyter.policy` decides.

* `gateway_process`: the process: configuration and control messages in, events out.
* `proxy/`: the HTTP proxy.  `egress_proxy` answers CONNECT and absolute URLs; `client_hello` and `hijack` read the TLS
  name; `tunnel` passes TLS on; `tls_termination` and `ca` end it; `intercept`, `headers`, `redact` and `websocket`
  handle single requests; `upstream` resolves and dials; `flows` counts; `proxy_state` holds what they share.
* `handoff/`: listening sockets from inside a bottle, and many connections over one pair of pipes (`mux`).
* `control/`: what the host and the process say to each other: configuration, messages, events, and the host's clients.
* `audit/`: the log of events, its history, and routes suggested from it.
* `egress_plan`: the routes of a bottle as the preflight shows them; it turns manifests into configurations.

`proxy` and `gateway_process` run in the gateway; `control.gateway_client`, `audit` and `egress_plan` run on the host.
Importing this package loads none of them.
"""

from __future__ import annotations

from typing import Final

PORTS: Final[dict[str, int]] = {"egress": 3128, "git-gate": 9418, "supervise": 9100}
"""Service name to the port on the bottle's 127.0.0.1 where the service is reached."""

GATE_ADDRESS: Final = "192.0.2.1"
"""Address at which a microVM reaches the services instead; it is in TEST-NET-1 (RFC 5737), so no host has it."""
