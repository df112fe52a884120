"""Show a proposal to the human who decides it: as text, and the same as HTML.

Its kind returns what to show; all of it comes from a bottle.  Every piece passes `visible` here and nowhere else.
"""

from __future__ import annotations

import html
import time
from collections.abc import Iterable

from bb_jupyter.approvals import Proposal, Status, kinds
from bb_jupyter.approvals.kinds.base import Part
from bb_jupyter.manifest import format_duration
from bb_jupyter.text.table import escaped
from bb_jupyter.text.visible import block, one_line

#: Lines of a part that plain output shows; a part of more is folded in HTML.
_LINES = 60
#: Most characters that are shown of one part, and of the words of a title.
_LONGEST, _WORDS = 200_000, 200
_COLOURS = {"+": "#1a7f37", "-": "#cf222e", "@": "#0969da"}


def title(proposal: Proposal) -> str:
    """Return what a proposal is about, on one line of hostile text."""
    kind = kinds.of(proposal)
    words = kind.title(kind.read(proposal))
    return f"{proposal.id}. {proposal.bottle} {words if len(words) <= _WORDS else words[:_WORDS] + '…'}"


def how(proposal: Proposal) -> str:
    """Return how to decide it."""
    number = proposal.id
    options = " ".join(option.usage for option in kinds.of(proposal).options if option.in_hint)
    return f"{f'%bottle approve {number} {options}'.strip()} · %bottle deny {number} --why TEXT"


def end(proposal: Proposal, standing: Status) -> str:
    """Return what became of it, on one line of hostile text."""
    if standing.state == "pending":
        failed = f" ({standing.outcome.text})" if standing.outcome else ""
        return f"waits for you{failed}: {how(proposal)}"
    decision, outcome = standing.decision, standing.outcome
    answer = f": {decision.answer['text']}" if decision and "text" in decision.answer else ""
    why = f" ({decision.why})" if decision and decision.why else ""
    result = f": {outcome.text}" if outcome and outcome.text else ""
    return f"{standing.state}{answer}{why}{result}"


def as_text(proposal: Proposal, standing: Status | None = None) -> str:
    """Return a proposal as text fit to be shown."""
    lines = [one_line(title(proposal)), f"   {one_line(_facts(proposal))}"]
    for part in _parts(proposal):
        body = _lines(part)
        lines += [f"   {one_line(part.title)}:"] if part.title else []
        lines += [f"     {line}" for line in body[:_LINES]]
        if len(body) > _LINES:
            lines.append(f"     … {len(body) - _LINES} more lines: bb_jupyter.approvals.get({proposal.id}).content")
    return "\n".join([*lines, f"   → {one_line(end(proposal, standing) if standing else how(proposal))}"])


def as_html(proposal: Proposal, standing: Status | None = None) -> str:
    """Return a proposal as HTML, all of it escaped."""
    parts = "".join(_part(part) for part in _parts(proposal))
    decide = escaped(end(proposal, standing) if standing else how(proposal))
    facts = f"<small>{escaped(_facts(proposal))}</small>"
    return f"<div><b>{escaped(title(proposal))}</b><br>{facts}{parts}<code>{decide}</code></div>"


def _part(part: Part) -> str:
    lines = _lines(part)
    style = ' style="color:#cf222e"' if part.warns else ""
    shown = f"<pre{style}>{'<br>'.join(_line(line, part.is_diff) for line in lines)}</pre>"
    if not part.title:
        return shown
    opened = " open" if len(lines) <= _LINES else ""
    return f"<details{opened}><summary>{escaped(part.title)}</summary>{shown}</details>"


def _line(line: str, is_diff: bool) -> str:
    colour = _COLOURS.get(line[:1]) if is_diff and not line.startswith(("+++", "---")) else None
    return f'<span style="color:{colour}">{html.escape(line)}</span>' if colour else html.escape(line)


def _facts(proposal: Proposal) -> str:
    """Return when it came and when it goes."""
    now = time.time()
    ago = f"{proposal.kind}, {_seconds(now - proposal.created)} ago"
    if proposal.expires is None:
        return f"{ago}; held until you decide"
    return f"{ago}; denied in {_seconds(proposal.expires - now)} unless you decide"


def _seconds(value: float) -> str:
    return format_duration(max(1, round(value)))


def _parts(proposal: Proposal) -> Iterable[Part]:
    kind = kinds.of(proposal)
    return kind.parts(kind.read(proposal))


def _lines(part: Part) -> list[str]:
    """Return the body of a part fit to be shown; where it is cut, the last line says so."""
    left = len(part.body) - _LONGEST
    cut = [f"… {left} more characters"] if left > 0 else []
    return [*block(part.body[:_LONGEST]).split("\n"), *cut]
