"""`egress`: a bottle wants to reach a host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bb_jupyter.approvals.kinds.base import Content, Context, Kind, Part, Result, reason
from bb_jupyter.approvals.store.proposal import Decision, Proposal
from bb_jupyter.errors import BottleError


@dataclass(frozen=True)
class EgressContent(Content):
    """A route that a bottle asks for.

    Attributes:
        host: exact, or ``*.suffix``.
        port: of the host.
        scheme: ``https`` or ``http``.
        methods: of HTTP; empty for all.
        paths: prefixes and patterns; empty for all.
        reason: why the agent needs it.
        route: the exact rule in one line, as it will be in force.
        manifest: the same as the fields of a route in a manifest.
    """

    host: str = ""
    port: int = 0
    scheme: str = ""
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    reason: str = ""
    route: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)


class _Egress(Kind[EgressContent]):
    name = "egress"
    content = EgressContent
    patience = 90.0

    def title(self, content: EgressContent) -> str:
        return f"wants to reach {self.summary(content)}"

    def summary(self, content: EgressContent) -> str:
        return content.route or content.host

    def parts(self, content: EgressContent) -> Iterator[Part]:
        yield Part("allows", content.route)
        yield from reason(content)

    async def effect(self, proposal: Proposal, content: EgressContent, decision: Decision, context: Context) -> Result:
        try:
            generation = await context.allow_route(proposal)
        except BottleError as error:
            return Result(False, f"It could not be put in force: {error.message}.")
        return Result(True, f"In force: {content.route}.", {"generation": generation})


kind = _Egress()
