"""The one judge of hosts, addresses, paths and routes: manifests are validated by it, and the proxy enforces it.

It needs the standard library only; `idna` is loaded for the few host names that are not plain ASCII.
"""

from __future__ import annotations


class Denied(Exception):
    """A connection or request that policy forbids.

    Args:
        rule: short name of the rule, such as ``no-route`` or ``path``; stable, for audit and tests.
        message: one ASCII line for the client and the audit log; never holds raw bytes that the client chose.
        hint: how to get it allowed; ``{name}`` stands for the bottle's name.
        status: HTTP status of the answer.
    """

    def __init__(self, rule: str, message: str, *, hint: str = "", status: int = 403) -> None:
        super().__init__(f"{rule}: {message}")
        self.rule, self.message, self.hint, self.status = rule, message, hint, status
