"""`question`: an agent asks its human something."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bb_jupyter.approvals.kinds.base import Content, Kind, Option, Part
from bb_jupyter.approvals.store.proposal import Decision, Proposal
from bb_jupyter.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class QuestionContent(Content):
    """A question.

    Attributes:
        question: in the agent's words.
        choices: what can be answered; empty for free text.
    """

    question: str = ""
    choices: tuple[str, ...] = ()


class _Question(Kind[QuestionContent]):
    name = "question"
    content = QuestionContent
    options = (Option("answer", "TEXT", "question: the answer", is_required=True),)
    patience = 5.0

    def title(self, content: QuestionContent) -> str:
        return f"asks: {content.question}"

    def summary(self, content: QuestionContent) -> str:
        return content.question

    def parts(self, content: QuestionContent) -> Iterator[Part]:
        yield Part("", content.question)
        if content.choices:
            yield Part("choices", "\n".join(content.choices))

    def suggestions(self, content: QuestionContent, option: str) -> Iterable[str]:
        return content.choices

    def answer(self, proposal: Proposal, content: QuestionContent, values: Mapping[str, Any]) -> Mapping[str, Any]:
        text, number = str(values.get("answer", "")), proposal.id
        if not text.strip():
            raise UsageError(f"request {number} is a question: say the answer", hint="`--answer TEXT`, or answer=…")
        if content.choices and text not in content.choices:
            hint = did_you_mean(text, content.choices)
            raise UsageError(f"this is none of the choices of request {number}", hint=hint)
        return {"text": text}

    def approval(self, content: QuestionContent, decision: Decision) -> str:
        text = decision.answer.get("text")
        return f"The human answered: {text}" if isinstance(text, str) else super().approval(content, decision)


kind = _Question()
