"""`budget`: an agent, or a process of the human's, asks for more tokens, money or time for a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bb_jupyter.approvals.kinds.base import Content, Context, Kind, Option, Part, Result, reason
from bb_jupyter.approvals.store.proposal import Decision, Proposal
from bb_jupyter.errors import UsageError
from bb_jupyter.manifest import format_duration, parse_duration

#: Most that can be granted at once, in any unit.
_MOST = 1e12


@dataclass(frozen=True)
class BudgetContent(Content):
    """More of one resource for one run.

    Attributes:
        resource: ``tokens``, ``money`` or ``time``.
        amount: how much more is asked for: a number of tokens, US dollars, or seconds.
        spent: how much of it the run has used.
        limit: how much of it the run may use so far.
        reason: why more is needed.
        run: the run that gets it.
    """

    resource: str = ""
    amount: float = 0
    spent: float = 0
    limit: float = 0
    reason: str = ""
    run: str = ""


class _Budget(Kind[BudgetContent]):
    name = "budget"
    content = BudgetContent
    options = (Option("granted", "AMOUNT", "budget: how much is granted; default: what was asked for"),)

    def title(self, content: BudgetContent) -> str:
        run = f" for {content.run}" if content.run else ""
        return f"wants {_shown(content.resource, content.amount)} more{run}"

    def parts(self, content: BudgetContent) -> Iterator[Part]:
        used, limit = _shown(content.resource, content.spent), _shown(content.resource, content.limit)
        yield Part("used so far", f"{used} of {limit}")
        yield from reason(content)

    def answer(self, proposal: Proposal, content: BudgetContent, values: Mapping[str, Any]) -> Mapping[str, Any]:
        amount = _amount(content.resource, str(values["granted"])) if "granted" in values else content.amount
        if not 0 < amount <= _MOST:
            raise UsageError(f"granted: this is no amount of {content.resource or 'anything'}")
        return {"granted": amount}

    def approval(self, content: BudgetContent, decision: Decision) -> str:
        return f"The human granted {_shown(content.resource, _granted(decision))}."

    def outcome(self, ok: bool, text: str) -> str:
        return "" if ok else text  # the approval has said how much

    async def effect(self, proposal: Proposal, content: BudgetContent, decision: Decision, context: Context) -> Result:
        granted = _granted(decision)
        if not granted or content.resource not in _RESOURCES:
            return Result(False, "Nothing can be granted: the request or its approval names no amount.")
        detail = {"resource": content.resource, "granted": granted}
        return Result(True, f"Granted: {_shown(content.resource, granted)}.", detail)


def _granted(decision: Decision) -> float:
    amount = decision.answer.get("granted")
    is_amount = isinstance(amount, int | float) and not isinstance(amount, bool) and 0 < amount <= _MOST
    return amount if is_amount else 0  # type: ignore[return-value]


def _amount(resource: str, text: str) -> float:
    """Return an amount as a human types it: ``50000``, ``2.50``, ``30m``.

    Raises:
        UsageError: it is no amount of that resource.
    """
    try:
        if resource == "time":
            return parse_duration(text)
        return int(text.replace(",", "")) if resource == "tokens" else float(text.removeprefix("$"))
    except ValueError:
        raise UsageError(f"granted: this is no amount of {resource or 'anything'}: {text[:40]!r}") from None


def _shown(resource: str, amount: float) -> str:
    """Return an amount for people."""
    shown = _RESOURCES.get(resource)
    return shown(amount) if shown and 0 <= amount <= _MOST else f"{amount:g} {resource}"


_RESOURCES = {
    "tokens": lambda amount: f"{amount:,.0f} tokens",
    "money": lambda amount: f"${amount:,.2f}",
    "time": format_duration,
}

kind = _Budget()
