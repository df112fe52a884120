"""What a bottle asks while its cell runs, with buttons in that cell; a plain line of what was decided at the end.

The cell publishes no more than a proposal's number: JupyterLab with our extension fetches the proposal from its server
and sends the human's answer there, so the buttons work while the kernel is busy, and no comm is needed.  Other front
ends, and a notebook that is read later, show the HTML or the text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bb_jupyter import approvals
from bb_jupyter.approvals import Proposal, Status
from bb_jupyter.backend.plan import BottlePlan
from bb_jupyter.errors import UnknownProposal
from bb_jupyter.notebook import kernel
from bb_jupyter.notebook.display import escaped, publish
from bb_jupyter.notebook.visible import one_line

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

#: What JupyterLab's panel draws (`labextension/src/cards.ts`).
MIME = "application/vnd.bb-jupyter.approval+json"


class Cards:
    """The proposals of one bottle in one cell; quiet where output is plain.

    Args:
        plan: of the bottle.

    Attributes:
        expected: the bottle may ask its human, and a cell is to look for it.
    """

    def __init__(self, plan: BottlePlan) -> None:
        self._slug = slug = plan.slug
        self.expected = kernel.is_rich() and (plan.supervise_plan is not None or plan.git_gate_plan is not None)
        self._stamp = approvals.changes(slug) if self.expected else ""
        self._known = {proposal.token for proposal in approvals.pending(slug)} if self.expected else set()
        self._shown: dict[str, tuple[Proposal, DisplayHandle]] = {}

    def look(self) -> None:
        """Show what is new, and what became of what was shown; on the thread whose output is the cell's."""
        if not self.expected or (stamp := approvals.changes(self._slug)) == self._stamp:
            return
        self._stamp = stamp
        waiting = {proposal.token: proposal for proposal in approvals.pending(self._slug)}
        for token in [token for token in self._shown if token not in waiting]:
            self._settle(token)
        for token in [token for token in waiting if token not in self._known]:
            self._known.add(token)
            self._show(waiting[token])

    def finish(self) -> None:
        """Look once more, and leave nothing in the cell that needs a kernel or a server."""
        self.look()
        for token in [*self._shown]:
            self._settle(token)

    def _show(self, proposal: Proposal) -> None:
        text = f"{title(proposal)} — {_how(proposal)}"
        handle = publish(one_line(text), f"<div>{escaped(text)}</div>", extra={MIME: {"id": proposal.id}})
        if handle is not None:
            self._shown[proposal.token] = (proposal, handle)

    def _settle(self, token: str) -> None:
        proposal, handle = self._shown.pop(token)
        text = f"{title(proposal)} — {_end(proposal)}"
        publish(one_line(text), f"<div>{escaped(text)}</div>", handle)


def title(proposal: Proposal) -> str:
    """Return what a proposal is about, in one line of hostile text."""
    content = proposal.content
    about = {
        "egress": f"wants to reach {content.get('route') or content.get('host')}",
        "push": f"wants to push to {content.get('alias')}",
        "question": f"asks: {str(content.get('question'))[:200]}",
        "copy-out": f"wants to hand out {content.get('path')}",
    }
    return f"{proposal.id}. {proposal.bottle} {about.get(proposal.kind, proposal.kind)}"


def _how(proposal: Proposal) -> str:
    number = proposal.id
    return f"answer in the Bottles panel, or in another notebook: %bottle approve {number} · %bottle deny {number}"


def _end(proposal: Proposal) -> str:
    try:
        status = approvals.status(proposal.id)
    except UnknownProposal:
        return "withdrawn: the bottle ended"
    return _said(proposal, status)


def _said(proposal: Proposal, status: Status) -> str:
    if status.state == "pending":
        return f"waits for you: %bottle approve {proposal.id}"
    why = f" ({status.decision.why})" if status.decision and status.decision.why else ""
    came = f": {status.outcome.text}" if status.outcome and status.outcome.text else ""
    return f"{status.state}{why}{came}"
