"""Bottles in containers of an engine, near or far: no bind mount, no published port, no CLI.

Docker and podman share all of this; they differ in their `Engine`.  One bottle consists of up to four containers and a
volume:

    kernel process            │ engine
                              │
    ContainerBottle ──exec────┼─▶ agent container            network "none": only `lo`
                              │     127.0.0.1:3128 egress, :9100 supervise, … (names in /etc/hosts)
                              │       ▲ same network namespace         ▲ same network namespace
                              │   handoff container                 relay container
                              │     binds the gateway's ports,        binds the broker's ports,
                              │     sends the listening sockets       passes connections on by
                              │       │ SCM_RIGHTS, over a              │ its standard input and output
                              │       ▼ Unix socket in the volume       │ (`gateway.handoff.mux`)
    GatewayClient ──attach────┼─▶ gateway container ──▶ Internet        │
      configuration, events   │     network "bridge"                    │
    BrokerClient ─ pipe ─ broker process ─ relay_stream.py ────attach───┘
                              │

A launch goes in this order; what stands on one line happens at the same time:

1. the broker process starts; the gateway container and its volume are created, attached and started;
2. the agent container is created, files are copied into it, it starts; the handoff and relay containers are created;
3. the handoff container starts: it binds the ports in the agent container's network, sends the sockets to the gateway
   and ends; the relay is attached and starts; /etc/hosts is written; the command that trusts the gateway's CA starts;
4. the gateway has got its configuration (secrets included) over the attached stream and made its CA; the CA goes to the
   waiting command; the bottle is ready.

Removal goes the other way round, each container after the request for it that may still be under way.  Where the
gateway dies the bottle has no network; a new gateway gets its sockets from a new handoff container.

`sidecar` makes the trusted containers, `gateway` and `broker_relay` are the two threads of the drawing, `launch` the
order.
"""
