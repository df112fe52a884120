"""The approval queue: what bottles ask of their human, kept in files; decided once, by any process of the user.

This is the interface for everything that shows or decides proposals (magics, the lab panel's server, widgets): it needs
no kernel and no bottle, and imports nothing but files.  Effects (a push goes upstream, a host is allowed) are not its
business: decide with `bb_jupyter.broker.effects`, whose `approve` and `deny` call `decide` here and see to the
effect.

Reading, from anywhere::

    bb_jupyter.approvals("demo")      # what waits, of one bottle by its name: for people
    stamp = changes()                 # cheap; equal stamps mean that nothing was proposed, decided or removed
    for proposal in pending():        # oldest first; pending("demo-1a2b3c4d") for one bottle
        proposal.id, proposal.bottle, proposal.kind, proposal.created, proposal.expires, proposal.content
    proposal = get(7)                 # exact content; UnknownProposal when there is none
    status(7).state                   # "pending", "approved", "denied", "withdrawn", "expired"; .decision, .outcome

Deciding: `decide(7, token=proposal.token, verdict="approved", why="…", answer={...})`.  The token is the hash of all
that the proposal says: what was shown is what is decided.  The first decision wins, others get `AlreadyDecided`.

On the bottle's trusted side (its broker)::

    lock = LivenessLock(slug)                         # locked while the broker lives; is_alive(slug) asks from anywhere
    queue = Queue(slug, name)
    proposal = queue.propose("question", {"question": "…", "choices": []}, expires=time.time() + 300)
    decision = await queue.wait(proposal.id)            # at the latest at `expires`, then its verdict is "expired"
    queue.report(proposal.id, ok=True, text="released") # what came of an approval; held=True: decidable once more
    held = queue.end()                                  # the bottle ends: all but held pushes are withdrawn

Each kind of request is a module in `kinds`: its content, how it is shown, what its approval takes, and its effect.
**Every text in a content comes from the bottle and is hostile**: make visible and escape what is shown.

Files: ``<BOT_BOTTLE_HOME>/approvals/<slug>/``: ``7.json`` (the proposal), ``7.1.decision.json``, ``7.1.outcome.json``,
all written whole, once, and never changed.  A proposal whose outcome is `held` goes on in round 2.  What is no regular
file of this user, is too big or does not check is as if it were not there, and never read as a yes.
"""

from __future__ import annotations

import sys
from types import ModuleType

from bb_jupyter.approvals.store.decisions import decide, expire, withdraw
from bb_jupyter.approvals.store.liveness_lock import LivenessLock, is_alive
from bb_jupyter.approvals.store.proposal import Decision, Outcome, Proposal, State, Status
from bb_jupyter.approvals.store.queries import all_proposals, changes, get, pending, status
from bb_jupyter.approvals.store.queue import Queue

__all__ = [
    "Decision",
    "LivenessLock",
    "Outcome",
    "Proposal",
    "Queue",
    "State",
    "Status",
    "all_proposals",
    "changes",
    "decide",
    "expire",
    "get",
    "is_alive",
    "pending",
    "status",
    "withdraw",
]


class _Package(ModuleType):
    """This package: `bb_jupyter.approvals()` is what people call to see what waits."""

    def __call__(self, bottle: str | None = None) -> list[Proposal]:
        """Return what waits for a decision, oldest first.

        Args:
            bottle: name or slug of the bottle that asks; ``None`` for all.
        """
        return [proposal for proposal in pending() if bottle in (None, proposal.bottle, proposal.slug)]


sys.modules[__name__].__class__ = _Package
