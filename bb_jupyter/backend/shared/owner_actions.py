"""What a broker has the owner of its bottle do: put an approved host in force, fetch a file that the agent offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from bb_jupyter.agent.guest import CommandRunner
from bb_jupyter.backend.execution import Execution
from bb_jupyter.errors import UsageError

if TYPE_CHECKING:
    from bb_jupyter.backend.plan import BottlePlan
    from bb_jupyter.gateway.egress_plan import RoutePlan

#: Seconds that it may take to read a file out of the bottle.
_FETCH = 50.0


class BrokeredBottle(CommandRunner[Execution], Protocol):
    """The part of `Bottle` that its broker needs."""

    @property
    def plan(self) -> BottlePlan:
        """See `Bottle.plan`."""

    @property
    def slug(self) -> str:
        """See `Bottle.slug`."""

    @property
    def alive(self) -> bool:
        """See `Bottle.alive`."""

    def allow_more(self, *routes: RoutePlan) -> int:
        """See `Bottle.allow_more`."""


def stage(bottle: BrokeredBottle, number: int, path: str) -> None:
    """Copy a file that the agent offers to where the human can look at it (`bb_jupyter.approvals.store.staging`).

    Args:
        bottle: whose broker asks.
        number: under which the broker looks for it.
        path: in the bottle, relative to its home; read as the agent can.

    Raises:
        UsageError: there is no such file, or it is too large.
        BottleError: the bottle died.
    """
    from bb_jupyter.approvals.store import staging

    name = staging.request_name(number)
    argv = ["sh", "-c", '[ -f "$1" ] && exec cat -- "$1"', "sh", path]
    try:
        with bottle.exec(argv, cwd=bottle.plan.guest_home, timeout=_FETCH) as execution:
            staging.store(bottle.slug, name, _output(execution))
            if execution.wait().returncode:
                raise UsageError("there is no file of that name that you can read")
    except BaseException:
        staging.discard(bottle.slug, name)
        raise


def _output(execution: Execution) -> Iterator[bytes]:
    for chunk in execution:
        if chunk.stream == "stdout":
            yield chunk.data


def put_in_force(bottle: BrokeredBottle, number: int) -> int:
    """Widen a bottle's policy by the route of an approved proposal, for this bottle and as long as it lives.

    Args:
        bottle: whose broker asks.
        number: the proposal's.

    Returns:
        The policy's generation.

    Raises:
        UsageError: no such thing was approved for this bottle.
        BottleError: the policy is refused, or there is no gateway.
    """
    return bottle.allow_more(_approved(bottle.slug, number))


def _approved(slug: str, number: int) -> RoutePlan:
    """Return the route that the human saw: from the queue, not from the broker's message."""
    from pydantic import ValidationError

    from bb_jupyter.approvals import get, status
    from bb_jupyter.approvals.kinds import egress
    from bb_jupyter.gateway.egress_plan import RoutePlan
    from bb_jupyter.manifest import Route

    proposal = get(number)
    if (proposal.slug, proposal.kind, status(number).state) != (slug, egress.kind.name, "approved"):
        raise UsageError(f"request {number} is no host that was approved for this bottle")
    try:
        route = Route.model_validate(egress.kind.read(proposal).manifest)
    except ValidationError:
        raise UsageError(f"request {number} holds no route") from None
    if route.auth or route.resolve or route.ca:
        raise UsageError(f"request {number} holds what no agent may ask for")
    return RoutePlan.from_route(route, "allowed")
