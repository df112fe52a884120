"""What a bottle's desk asks of the process that holds the bottle: a wider policy, and a file of the bottle.

Only the desk's word is taken that something was asked; what was approved is read from the queue itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bb_jupyter.agent.guest import STEP_TIMEOUT
from bb_jupyter.errors import UsageError

if TYPE_CHECKING:
    from bb_jupyter.backend.bottle import Bottle
    from bb_jupyter.gateway.plan import RoutePlan

_READ = 'if [ -f "$1" ]; then exec cat <"$1"; fi; echo "there is no such file" >&2; exit 1'


def put_in_force(bottle: Bottle, number: int) -> int:
    """Widen a bottle's policy as an approved proposal says.

    Args:
        bottle: the one that asked; no other is changed.
        number: the proposal's.

    Returns:
        The policy's generation.

    Raises:
        UsageError: that is no proposal of this bottle, or it is not approved.
        BottleError: the policy is refused, or the bottle or its gateway died.
    """
    from bb_jupyter.gateway.plan import EgressPlan

    return bottle.allow((bottle.network.routes or EgressPlan()).allowing(_approved(bottle, number)))


def _approved(bottle: Bottle, number: int) -> RoutePlan:
    from bb_jupyter.approvals import get, status
    from bb_jupyter.gateway.plan import RoutePlan
    from bb_jupyter.manifest import Route

    proposal = get(number)
    if (proposal.slug, proposal.kind, status(number).state) != (bottle.slug, "egress", "approved"):
        raise UsageError(f"proposal {number} is no approved route of this bottle")
    return RoutePlan.from_route(Route.model_validate(proposal.content["manifest"]), "allowed")


def stage(bottle: Bottle, path: str, number: int) -> None:
    """Copy a file of the bottle to where it waits for the human's decision.

    It is read by a program in the bottle: whatever the path is there, nothing of this host can be meant.

    Args:
        bottle: where the file is.
        path: of the file, relative to the agent's home.
        number: under which the desk expects it, negative.

    Raises:
        UsageError: there is no such file, or it is too large.
        BottleGone: the bottle died.
    """
    from bb_jupyter.gateway import staging

    name = staging.request_name(-number)
    try:
        staging.store(bottle.slug, name, _content(bottle, path))
    except BaseException:
        staging.discard(bottle.slug, name)
        raise


def _content(bottle: Bottle, path: str) -> Iterator[bytes]:
    """Read a file of the bottle piece by piece; who stops in between ends the program."""
    said = b""
    argv = ["sh", "-c", _READ, "sh", path]
    with bottle.exec(argv, cwd=bottle.plan.guest_home, timeout=STEP_TIMEOUT) as execution:
        for chunk in execution:
            if chunk.stream == "stdout":
                yield chunk.data
            else:
                said = (said + chunk.data)[-500:]
        if execution.wait().returncode:
            why = said.decode("utf-8", "replace").strip().splitlines()
            raise UsageError(f"cannot read {path!r} in the bottle: {why[-1] if why else 'it failed'}")
