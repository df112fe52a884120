"""A proposal as the human sees it before deciding: text, and the same as HTML.

All of it comes from a bottle; every piece passes `visible` on its way out, here and nowhere else.
"""

from __future__ import annotations

import html
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bb_jupyter.approvals import Proposal, Status
from bb_jupyter.manifest import about_size, format_duration
from bb_jupyter.text.table import escaped
from bb_jupyter.text.visible import block, one_line

#: Lines of a part that plain output shows; a part of more is folded in HTML.
_LINES = 60
#: Most characters of one part, and of the title's own words.
_LONGEST, _WORDS = 200_000, 200
_COLOURS = {"+": "#1a7f37", "-": "#cf222e", "@": "#0969da"}


@dataclass(frozen=True)
class Part:
    """One part of what is to be judged.

    Attributes:
        title: what it is; empty for none.
        body: its text, any number of lines; hostile.
        is_diff: additions and deletions are coloured.
        warns: it is said in red.
    """

    title: str
    body: str
    is_diff: bool = False
    warns: bool = False

    def lines(self) -> list[str]:
        """Return the body fit to be shown; where it is cut, the last line says so."""
        left = len(self.body) - _LONGEST
        cut = [f"… {left} more characters"] if left > 0 else []
        return [*block(self.body[:_LONGEST]).split("\n"), *cut]


def title(proposal: Proposal) -> str:
    """Return what a proposal is about, on one line of hostile text."""
    content = proposal.content
    about = {
        "egress": f"wants to reach {content.get('route') or content.get('host')}",
        "push": f"wants to push to {content.get('alias')} ({content.get('url')})",
        "question": f"asks: {content.get('question')}",
        "copy-out": f"offers the file {content.get('path')} ({_size(content.get('size'))})",
    }[proposal.kind]
    words = about if len(about) <= _WORDS else about[:_WORDS] + "…"
    return f"{proposal.id}. {proposal.bottle} {words}"


def how(proposal: Proposal) -> str:
    """Return how to decide it."""
    number, more = proposal.id, {"question": " --answer TEXT", "copy-out": " [--to PATH]"}.get(proposal.kind, "")
    return f"%bottle approve {number}{more} · %bottle deny {number} --why TEXT"


def end(proposal: Proposal, standing: Status) -> str:
    """Return what became of it, on one line of hostile text."""
    if standing.state == "pending":
        failed = f" ({standing.outcome.text})" if standing.outcome else ""
        return f"waits for you{failed}: {how(proposal)}"
    decision, outcome = standing.decision, standing.outcome
    answer = f": {decision.answer['text']}" if decision and "text" in decision.answer else ""
    why = f" ({decision.why})" if decision and decision.why else ""
    came = f": {outcome.text}" if outcome and outcome.text else ""
    return f"{standing.state}{answer}{why}{came}"


def as_text(proposal: Proposal, standing: Status | None = None) -> str:
    """Return a proposal as text fit to be shown."""
    lines = [one_line(title(proposal)), f"   {one_line(_facts(proposal))}"]
    for part in _parts(proposal):
        body = part.lines()
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
    lines = part.lines()
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


def _parts(proposal: Proposal) -> Iterator[Part]:
    """Return the parts of a proposal by its kind; what is missing or of another shape is left out."""
    content = proposal.content
    if proposal.kind == "egress":
        yield Part("allows", str(content.get("route")))
    elif proposal.kind == "question":
        yield Part("", str(content.get("question")))
        if choices := content.get("choices"):
            yield Part("choices", "\n".join(map(str, choices)))
    elif proposal.kind == "copy-out":
        yield Part("files", "\n".join(f"{_size(f.get('size')):>10}  {f.get('path')}" for f in _dicts(content, "files")))
        if text := content.get("text"):
            yield Part("text", str(text).rstrip("\n"))
    else:
        yield from _push(content)
    if reason := content.get("reason"):
        yield Part("reason", str(reason))


def _push(content: Mapping[str, Any]) -> Iterator[Part]:
    findings = content.get("findings") or []
    if findings:
        yield Part("findings", "\n".join(_finding(found) for found in findings), warns=True)
    yield Part("refs", "\n".join(_ref(ref) for ref in _dicts(content, "refs")))
    yield Part("commits", "\n".join(_commit(commit) for commit in _dicts(content, "commits")))
    yield Part("files", "\n".join(_file(file) for file in _dicts(content, "files")))
    if content.get("truncated"):
        yield Part("", "This is more than can be shown: git has all of it.", warns=True)
    for name, text in _by_file(str(content.get("diff") or "").rstrip("\n")):
        yield Part(f"diff {name}", text, is_diff=True)


def _finding(found: object) -> str:
    return ": ".join(str(value) for value in found.values()) if isinstance(found, dict) else str(found)


def _ref(ref: Mapping[str, Any]) -> str:
    return f"{ref.get('name')}: {_sha(ref.get('old'))} → {_sha(ref.get('new'))} ({ref.get('kind')})"


def _commit(commit: Mapping[str, Any]) -> str:
    body = "".join(f"\n    {line}" for line in str(commit.get("body") or "").strip().splitlines())
    return f"{_sha(commit.get('sha'))} {commit.get('subject')} ({commit.get('author')}, {commit.get('date')}){body}"


def _file(file: Mapping[str, Any]) -> str:
    size = "binary" if file.get("binary") else f"+{file.get('added')} −{file.get('deleted')}"
    return f"{file.get('status')} {file.get('path')} ({size})"


def _sha(value: object) -> str:
    return str(value)[:10] if value and set(str(value)) != {"0"} else "nothing"


def _by_file(diff: str) -> Iterator[tuple[str, str]]:
    """Split a diff of git into those of its files."""
    lines: list[str] = []
    name = ""
    for line in diff.split("\n"):
        if line.startswith("diff --git ") and lines:
            yield name, "\n".join(lines)
            lines = []
        if line.startswith("diff --git "):
            name = line.rpartition(" b/")[2]
        lines.append(line)
    if any(lines):
        yield name, "\n".join(lines)


def _dicts(content: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    found: Iterable[Any] = content.get(key) or ()
    return [item for item in found if isinstance(item, dict)]


def _size(value: object) -> str:
    return about_size(value) if isinstance(value, int) else "?"
