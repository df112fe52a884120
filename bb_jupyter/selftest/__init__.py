"""Promises of a bottle, tried from inside the bottle itself: what `%bottle selftest` runs and `tests/attack` runs.

One function a promise; its docstring says what is promised and where it was broken elsewhere.  The oracle is outside:
a canary of ours on every address of this host.  Blocked means that nothing arrived there, that the denial came at once,
and, where the gateway gave it, that it names its rule.  Nothing is changed: not the bottle's files, not its policy.

What runs in the bottle, its shell and its Python, is believed when it says that it *failed*: test a fresh bottle, not
one that an agent has had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from bb_jupyter.errors import PromiseBroken
from bb_jupyter.selftest import host, network, proxy, secrets
from bb_jupyter.selftest.canary import Canary
from bb_jupyter.selftest.probe import Probe
from bb_jupyter.selftest.verdict import Check, Verdict

if TYPE_CHECKING:
    from bb_jupyter.core.bottle_handle import BottleHandle

__all__ = ["CHECKS", "Canary", "Check", "Probe", "Verdict", "require", "selftest"]

#: Every check, in the order of the promises.
CHECKS: Final[tuple[Check, ...]] = (
    network.raw_sockets,
    network.datagrams,
    network.other_families,
    network.other_places,
    network.name_lookups,
    proxy.unlisted_hosts,
    proxy.address_literals,
    proxy.strange_names,
    proxy.other_ports,
    proxy.host_headers,
    proxy.tls_names,
    proxy.later_requests,
    secrets.environment,
    secrets.files,
    secrets.preflight,
    secrets.records,
    secrets.host_processes,
    host.host_files,
    host.copies_out,
    host.processes_of_the_host,
    host.privileges,
    host.ended_commands,
)


def selftest(
    handle: BottleHandle,
    *,
    checks: Sequence[Check] = CHECKS,
    on_verdict: Callable[[Verdict], object] = lambda verdict: None,
) -> list[Verdict]:
    """Try to break a running bottle's promises from inside.

    While it runs, a server of ours listens on every address of this host.

    Args:
        held: the bottle.
        checks: which promises.
        on_verdict: gets each verdict as it is reached.

    Returns:
        A verdict for each check.

    Raises:
        BottleGone: the bottle died before, or was stopped elsewhere.
        OSError: this host does not let us listen.
    """
    verdicts = []
    with Canary() as canary:
        probe = Probe(handle, canary)
        for check in checks:
            verdicts.append(check(probe))
            on_verdict(verdicts[-1])
    return verdicts


def require(verdicts: Sequence[Verdict]) -> None:
    """Raise unless every promise that could be tried holds.

    Raises:
        PromiseBroken: one does not; the message names them.
    """
    if broken := [verdict for verdict in verdicts if verdict.ok is False]:
        names = ", ".join(verdict.promise for verdict in broken)
        raise PromiseBroken(f"{len(broken)} of {len(verdicts)} promises do not hold: {names}", hint=broken[0].detail)
