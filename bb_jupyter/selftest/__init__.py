"""Promises of a bottle, tried from inside the bottle: `%bottle selftest` and `tests/attack` run these checks.

Each check is a function.  Its docstring states the promise, and where other products broke it.  The test oracle is
outside the bottle: a canary server on every address of this host.  An attempt counts as blocked when nothing reached
the canary and the denial came at once; a denial by the gateway must also name its rule.  Neither the bottle's files nor
its policy are changed.

The checks trust the bottle's shell and Python when these report a *failure*.  So test a fresh bottle, not one in which
an agent has worked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from bb_jupyter.errors import PromiseBroken
from bb_jupyter.selftest import host, network, proxy, secrets
from bb_jupyter.selftest.canary import Canary
from bb_jupyter.selftest.probe import Probe, PromiseCheck, PromiseResult

if TYPE_CHECKING:
    from bb_jupyter.core.bottle_handle import BottleHandle

__all__ = ["CHECKS", "Canary", "Probe", "PromiseCheck", "PromiseResult", "require", "selftest"]

#: Every check, in the order of the promises.
CHECKS: Final[tuple[PromiseCheck, ...]] = (
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
    checks: Sequence[PromiseCheck] = CHECKS,
    on_result: Callable[[PromiseResult], object] = lambda result: None,
) -> list[PromiseResult]:
    """Try to break a running bottle's promises from inside.

    Meanwhile the canary listens on every address of this host.

    Args:
        handle: the bottle.
        checks: the checks to run.
        on_result: is called with each result.

    Returns:
        A result for each check.

    Raises:
        BottleGone: the bottle was gone before the first check.
        OSError: the canary cannot listen on this host.
    """
    results = []
    with Canary() as canary:
        probe = Probe(handle, canary)
        for check in checks:
            results.append(check(probe))
            on_result(results[-1])
    return results


def require(results: Sequence[PromiseResult]) -> None:
    """Raise unless every promise that could be tried holds.

    Raises:
        PromiseBroken: some promises do not hold; the message names them.
    """
    if broken := [result for result in results if result.ok is False]:
        names = ", ".join(result.promise for result in broken)
        raise PromiseBroken(f"{len(broken)} of {len(results)} promises do not hold: {names}", hint=broken[0].detail)
