"""The MCP server of the supervise service and its tools, by the official SDK."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable
from typing import Annotated, Any, Final, Protocol

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ToolAnnotations
from pydantic import Field, ValidationError
from starlette.applications import Starlette

from bb_jupyter.approvals import all_proposals
from bb_jupyter.approvals.kinds import egress
from bb_jupyter.approvals.kinds import question as question_kind
from bb_jupyter.approvals.kinds.egress import EgressContent
from bb_jupyter.approvals.kinds.question import QuestionContent
from bb_jupyter.broker.proposals import BrokerLike, ProposalService, line
from bb_jupyter.broker.supervise.file_offers import FileOffers
from bb_jupyter.errors import BottleError
from bb_jupyter.gateway import GATE_ADDRESS, PORTS
from bb_jupyter.gateway.egress_plan import EgressPlan, RoutePlan
from bb_jupyter.manifest import Route

#: Seconds between two signs of life of a call that waits.
_ALIVE: Final = 10.0
_LARGEST_REQUEST: Final = 256 << 10
#: Most reports in a time, in seconds.
_MOST_REPORTS, _WINDOW = 60, 600.0
#: How many of the bottle's own requests are listed.
_LISTED: Final = 20

_INSTRUCTIONS: Final = (
    "You work in a bottle: a sandbox whose network reaches only the hosts that your human allowed. These tools reach "
    "the human. A call waits until they decide, or is denied after {timeout:g} s; a denial stands, do not ask the same "
    "again. When a request to a host was refused by the egress proxy, ask for it with request_host."
)

Reason = Annotated[str, Field(min_length=1, max_length=2000, description="why you need it, for the human to judge")]


class SupervisedBroker(BrokerLike, Protocol):
    """What the tools need of their broker."""

    @property
    def proposals(self) -> ProposalService:
        """The jobs of the bottle's proposals."""


def server_app(broker: SupervisedBroker, timeout: float) -> Starlette:
    """Return the ASGI application of the MCP server, at ``/``, for requests to ``supervise`` alone.

    Args:
        broker: the bottle's broker.
        timeout: seconds until a request is denied when nobody decides.
    """
    logging.getLogger("mcp").setLevel(logging.ERROR)
    server = MCPServer(
        "supervise", instructions=_INSTRUCTIONS.format(timeout=timeout), log_level="ERROR", subscriptions=False
    )
    _add_tools(server, Tools(broker, timeout))
    port = PORTS["supervise"]
    hosts = [f"supervise:{port}", "supervise", f"{GATE_ADDRESS}:{port}"]
    security = TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[f"http://{host}" for host in hosts])
    return server.streamable_http_app(
        streamable_http_path="/",
        stateless_http=True,
        max_request_body_size=_LARGEST_REQUEST,
        transport_security=security,
    )


def _add_tools(server: MCPServer[Any], tools: Tools) -> None:
    ask = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
    for tool in (tools.request_host, tools.ask, tools.propose_file, tools.report, tools.decisions):
        server.add_tool(tool, annotations=ask, structured_output=False)


class Tools:
    """The tools, as the agent sees them: their docstrings are its documentation.

    Args:
        broker: the bottle's broker.
        timeout: seconds until a request is denied when nobody decides.
    """

    def __init__(self, broker: SupervisedBroker, timeout: float) -> None:
        self._broker, self._proposals, self._timeout = broker, broker.proposals, timeout
        self._files = FileOffers(broker, broker.proposals, timeout)
        self._reports: deque[float] = deque(maxlen=_MOST_REPORTS)

    async def request_host(
        self,
        ctx: Context[Any, Any],
        host: Annotated[str, Field(max_length=300, description="exact name, or *.suffix for every host below it")],
        reason: Reason,
        port: Annotated[int, Field(ge=1, le=65535)] = 443,
        methods: Annotated[list[str] | None, Field(max_length=10, description="only these; default: all")] = None,
        paths: Annotated[
            list[Annotated[str, Field(max_length=500)]] | None,
            Field(max_length=20, description="only these prefixes, or patterns with * and **; default: all"),
        ] = None,
    ) -> str:
        """Ask the human to let this bottle reach a host. Waits for the decision. Port 80 is plain HTTP."""
        try:
            route = Route.model_validate(
                {
                    **{"host": host, "port": port, "scheme": "http" if port == 80 else "https"},
                    **{"methods": tuple(methods) if methods else None, "paths": tuple(paths) if paths else None},
                }
            )
        except ValidationError as error:
            first = error.errors()[0]
            why = str(first.get("ctx", {}).get("error") or first["msg"]).partition("\n")[0]  # more concerns manifests
            raise ToolError(f"refused: {why}") from None
        return await self._wait(ctx, self._proposals.ask(egress.kind, _egress(route, reason), self._timeout))

    async def ask(
        self,
        ctx: Context[Any, Any],
        question: Annotated[str, Field(min_length=1, max_length=4000)],
        choices: Annotated[
            list[Annotated[str, Field(min_length=1, max_length=200)]] | None,
            Field(max_length=10, description="answers to choose from; default: free text"),
        ] = None,
    ) -> str:
        """Ask the human a question and wait for the answer."""
        content = QuestionContent(question, tuple(choices or ()))
        return await self._wait(ctx, self._proposals.ask(question_kind.kind, content, self._timeout))

    async def propose_file(
        self,
        ctx: Context[Any, Any],
        path: Annotated[str, Field(min_length=1, max_length=400, description="of one file; relative to your home")],
        reason: Reason,
    ) -> str:
        """Offer a file of this bottle to the human, as it is now, to be copied out. Waits for the decision."""
        if "\0" in path:
            raise ToolError("refused: a path has no NUL")
        return await self._wait(ctx, self._files.offer(path, reason))

    async def report(
        self,
        status: Annotated[str, Field(min_length=1, max_length=400, description="one line")],
        done: Annotated[bool, Field(description="the whole task is done")] = False,
    ) -> str:
        """Tell the human how it goes, or that the task is done. Does not wait."""
        now = time.monotonic()
        if len(self._reports) == _MOST_REPORTS and self._reports[0] > now - _WINDOW:
            raise ToolError("too many reports; the human does not see this one")
        self._reports.append(now)
        self._broker.emit("status", text=status, done=done)
        return "The human sees it."

    async def decisions(
        self,
        ctx: Context[Any, Any],
        number: Annotated[int, Field(ge=0, description="wait for the word on this one; default: list the latest")] = 0,
    ) -> str:
        """Tell what became of your requests and of what you pushed, with the human's reasons."""
        if number:
            return await self._wait(ctx, self._proposals.decision(number, self._timeout))
        own = all_proposals(self._broker.slug)[-_LISTED:]
        return "\n".join(line(proposal, standing) for proposal, standing in own) or "You have asked for nothing yet."

    async def _wait(self, ctx: Context[Any, Any], asked: Awaitable[str]) -> str:
        """Wait for the human; progress is reported meanwhile, so that the client does not give up."""
        job, began = asyncio.ensure_future(asked), time.monotonic()
        try:
            while not (await asyncio.wait({job}, timeout=_ALIVE))[0]:
                await ctx.report_progress(time.monotonic() - began, self._timeout, "the human decides")
            return await job
        except BottleError as error:
            raise ToolError(str(error)) from None
        finally:
            job.cancel()


def _egress(route: Route, reason: str) -> EgressContent:
    """Return a route as it is proposed, with the rule that it becomes in one line."""
    return EgressContent(
        route.host,
        route.effective_port,
        route.scheme,
        tuple(route.methods or ()),
        tuple(route.paths or ()),
        reason,
        str(EgressPlan().allowing(RoutePlan.from_route(route, "allowed")).routes[0]),
        route.model_dump(mode="json", exclude_none=True),
    )
