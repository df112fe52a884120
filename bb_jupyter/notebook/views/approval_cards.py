"""Show in a running cell what its bottle asks for, and then what was decided.

In a notebook this is a card, whose output holds the proposal's number: JupyterLab with our extension fetches the
proposal from its server and sends the human's answer there, so the buttons work while the kernel is busy, and no comm
is needed.  Other front ends, and a notebook that is read later, show the HTML or the text.  Plain output gets lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bb_jupyter import approvals
from bb_jupyter.approvals import Proposal, kinds
from bb_jupyter.core.bottle_handle import BottleHandle
from bb_jupyter.errors import UnknownProposal
from bb_jupyter.notebook import kernel
from bb_jupyter.notebook.views.display import publish, say
from bb_jupyter.notebook.views.proposal_view import as_html, as_text, end, title
from bb_jupyter.text.table import escaped
from bb_jupyter.text.visible import one_line

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

#: What JupyterLab's panel draws (`labextension/src/renderers.ts`).
MIME = "application/vnd.bb-jupyter.approval+json"
_ELSEWHERE = (
    "this cell continues after the decision: decide in the Bottles panel, in any other notebook, or in a terminal, "
    "where bb-jupyter stands for %bottle"
)
_HELD = "the agent continues meanwhile; the request stays until it is decided, even after the bottle has ended"


class Cards:
    """The proposals of one bottle in one cell, and what its agent reports.

    Args:
        handle: the bottle.
        tell: called with a line of plain output, fit to be shown; on any thread.

    Attributes:
        expected: the bottle may ask its human, so a cell calls `look`.
    """

    def __init__(self, handle: BottleHandle, tell: Callable[[str], object] = say) -> None:
        plan = handle.plan
        self._name, self._slug, self._tell, self._broker = handle.name, plan.slug, tell, handle.bottle.broker
        self.expected = plan.supervise_plan is not None or plan.git_gate_plan is not None
        self._rich = kernel.is_rich()
        self._stamp = approvals.changes(self._slug) if self.expected else ""
        self._known = {proposal.token for proposal in approvals.pending(self._slug)} if self.expected else set()
        self._shown: dict[str, tuple[Proposal, DisplayHandle | None]] = {}
        self._reports: list[str] = []
        if self.expected:
            self._broker.events.append(self._hear)

    def look(self) -> None:
        """Show what is new, and what became of what was shown; on the thread whose output is the cell's."""
        reports, self._reports = self._reports, []
        for line in reports:
            self._tell(line)
        if not self.expected or (stamp := approvals.changes(self._slug)) == self._stamp:
            return
        self._stamp = stamp
        waiting = {proposal.token: proposal for proposal in approvals.pending(self._slug)}
        for token in [token for token, (proposal, _) in self._shown.items() if _is_over(proposal)]:
            self._settle(token)
        for token in [token for token in waiting if token not in self._known]:
            self._known.add(token)
            self._show(waiting[token])

    def finish(self) -> None:
        """Look once more, and leave nothing in the cell that needs a kernel or a server."""
        self.look()
        for token in [*self._shown]:
            self._settle(token)
        if self._hear in self._broker.events:
            self._broker.events.remove(self._hear)

    def _hear(self, event: Mapping[str, Any]) -> None:
        """Take an event of the broker, on its thread."""
        if event.get("event") == "status":
            said = "is done" if event.get("done") is True else "reports"
            self._reports.append(f"{self._name} {said}: {one_line(str(event.get('text')))}")
        elif event.get("event") == "broker-died":
            self._reports.append(f"{self._name}: its broker died: it can ask for nothing and push nothing")
        elif event.get("event") == "broker-restarted":
            self._reports.append(f"{self._name}: a new broker has taken over, with all that waits")
        elif event.get("event") == "broker-given-up":
            self._reports.append(f"{self._name}: its broker died again and again; there is no new one")

    def _show(self, proposal: Proposal) -> None:
        when = _HELD if kinds.of(proposal).outlives_bottle else _ELSEWHERE
        handle, text = None, f"{as_text(proposal)}\n   {when}"
        if self._rich:
            markup = f"{as_html(proposal)}<small>{escaped(when)}</small>"
            handle = publish(text, markup, extra={MIME: {"id": proposal.id}})
        else:
            self._tell(text)
        self._shown[proposal.token] = (proposal, handle)

    def _settle(self, token: str) -> None:
        proposal, handle = self._shown.pop(token)
        text = one_line(f"{title(proposal)} — {_end(proposal)}")
        if handle is None:
            self._tell(text)
        else:
            publish(text, f"<div>{escaped(text)}</div>", handle)


def _is_over(proposal: Proposal) -> bool:
    """Return whether it is settled; an approval is shown together with its outcome."""
    try:
        return approvals.status(proposal.id).settled
    except UnknownProposal:
        return True


def _end(proposal: Proposal) -> str:
    try:
        return end(proposal, approvals.status(proposal.id))
    except UnknownProposal:
        return "withdrawn: the bottle ended"
