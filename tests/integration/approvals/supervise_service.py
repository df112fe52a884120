"""A supervise service under uvicorn on loopback, with a broker that a test plays the owner of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import uvicorn
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from bb_jupyter.approvals import Proposal, pending
from bb_jupyter.broker.broker_plan import SupervisePlan
from bb_jupyter.broker.supervise.mcp_server import app
from tests.tools.fake_broker import FakeBroker


@asynccontextmanager
async def served(broker: FakeBroker, timeout: float = 60.0) -> AsyncIterator[int]:
    """Serve the service; gives its port."""
    config = uvicorn.Config(app(SupervisePlan(timeout), broker), host="127.0.0.1", port=0, log_level="error", ws="none")
    server = uvicorn.Server(config)
    job = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
    try:
        async with broker.alive():
            yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await job


@asynccontextmanager
async def agent(port: int, mode: Any = "auto") -> AsyncIterator[Client]:
    """An MCP client that takes the service for `supervise:9100`."""
    headers = {"Host": "supervise:9100"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"http://127.0.0.1:{port}/", http_client=http), mode=mode) as client,
    ):
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> tuple[str, bool]:
    """Call a tool; return its text and whether it is an error."""
    result = await client.call_tool(tool, arguments)
    return "".join(block.text for block in result.content if block.type == "text"), bool(result.is_error)


async def asked(count: int = 1) -> Proposal:
    """Wait until so many proposals are pending; return the last."""
    while len(found := pending()) < count:
        await asyncio.sleep(0.02)
    return found[-1]
