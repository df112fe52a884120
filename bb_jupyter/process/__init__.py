"""Processes of the host: identity, /proc, trusted children, deferred interrupts, waiting, JSON lines."""
