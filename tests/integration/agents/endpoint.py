"""A model that does as it is told: Anthropic's Messages and OpenAI's Responses, streamed over TLS.

Each prompt is answered by some thinking, then a tool call for each of `commands`, then a closing text.  A conversation
is told by its history alone, as with the real services, so that resuming one shows.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Literal

from aiohttp import web

from bb_jupyter.gateway.proxy.ca import LeafAuthority

Mode = Literal["ok", "401", "429", "500", "drop", "never"]
Json = dict[str, Any]
#: What the model thinks and says before its first tool call.
THOUGHT, SAID = "let me think", "I will do it."


class ModelEndpoint:
    """A server in a thread of its own.

    Args:
        address: of this host, where the bottles' gateways reach it.

    Attributes:
        mode: how it answers; `ok`, a status, or a way to fail.
        commands: the shell commands that the model wants to be run, for every prompt; or a tool of the human's MCP
            server with its arguments, where no name stands for a list of all tools (Codex).
        requests: path and body of what came.
        credentials: the credentials that came with it.
        asked: set when a request has come.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self.mode: Mode = "ok"
        self.commands: list[str | tuple[str, Json]] = []
        self.requests: list[tuple[str, Json]] = []
        self.credentials: set[str] = set()
        self.asked = threading.Event()
        self._authority = LeafAuthority("model")
        self.ca_pem = self._authority.cert_pem
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._started.wait(30)

    def close(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    @property
    def prompts(self) -> list[str]:
        """Every text of a user that came with the last request."""
        return [text for path, body in self.requests[-1:] for text in _user_texts(body)]

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        context = self._authority.context("api.anthropic.com")

        def by_name(sock: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            if name:
                sock.context = self._authority.context(name)

        context.sni_callback = by_name
        server = await self._loop.create_server(web.Server(self._handle, access_log=None), self.address, 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        raw = await request.read()
        if request.method != "POST":
            return web.json_response({"error": {"type": "not_found_error", "message": "not here"}}, status=404)
        headers = request.headers
        self.credentials |= {headers[name] for name in ("x-api-key", "Authorization") if name in headers}
        body: Json = json.loads(raw)
        self.requests.append((request.path, body))
        self.asked.set()
        if self.mode == "never":
            await self._stop.wait()
        if self.mode.isdigit():
            error = {"type": "scripted_error", "message": "scripted failure", "code": "scripted"}
            return web.json_response({"type": "error", "error": error}, status=int(self.mode))
        events = list(self._messages(body) if request.path.endswith("/messages") else self._responses(body))
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        for event in events[:2] if self.mode == "drop" else events:
            await reply.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        if self.mode == "drop" and request.transport:
            request.transport.abort()
        with suppress(ConnectionError):
            await reply.write_eof()
        return reply

    def _messages(self, body: Json) -> Iterable[Json]:
        """Answer as Anthropic's Messages API does."""
        done = _results_since_prompt(body["messages"])
        blocks: list[tuple[Json, list[Json]]] = []
        if not done:
            thinking = {"type": "thinking_delta", "thinking": THOUGHT}
            signature = {"type": "signature_delta", "signature": "c2ln"}
            blocks.append(({"type": "thinking", "thinking": "", "signature": ""}, [thinking, signature]))
            blocks.append(_text_block(*SAID.partition(" ")))
        if done < len(self.commands):
            name, arguments = _claude_call(self.commands[done])
            given = json.dumps(arguments)
            tool = {"type": "tool_use", "id": f"toolu_{len(body['messages'])}", "name": name, "input": {}}
            blocks.append((tool, [{"type": "input_json_delta", "partial_json": given}]))
        else:
            blocks.append(_text_block(_closing(body)))
        usage = {"input_tokens": 100, "output_tokens": 1}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": []}
        yield {
            "type": "message_start",
            "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage},
        }
        for index, (block, deltas) in enumerate(blocks):
            yield {"type": "content_block_start", "index": index, "content_block": block}
            for delta in deltas:
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
        reason = "tool_use" if done < len(self.commands) else "end_turn"
        delta = {"stop_reason": reason, "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 20}}
        yield {"type": "message_stop"}

    def _responses(self, body: Json) -> Iterable[Json]:
        """Answer as OpenAI's Responses API does."""
        done = _results_since_prompt(body["input"])
        yield {"type": "response.created", "response": {"id": "resp_1"}}
        items: list[Json] = []
        if not done:
            summary = [{"type": "summary_text", "text": THOUGHT}]
            items.append({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": None})
            items.append(_output_text(SAID))
        if done < len(self.commands):
            items.append(_function_call(body, self.commands[done], f"call_{len(body['input'])}"))
        else:
            items.append(_output_text(_closing(body)))
        for item in items:
            yield {"type": "response.output_item.done", "item": item}
        usage = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}
        yield {"type": "response.completed", "response": {"id": "resp_1", "usage": usage}}


def _text_block(*pieces: str) -> tuple[Json, list[Json]]:
    return {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces]


def _output_text(text: str) -> Json:
    content = [{"type": "output_text", "text": text}]
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": content}


def _claude_call(command: str | tuple[str, Json]) -> tuple[str, Json]:
    if isinstance(command, str):
        return "Bash", {"command": command, "description": "scripted"}
    return f"mcp__supervise__{command[0]}", command[1]


def _function_call(body: Json, command: str | tuple[str, Json], ident: str) -> Json:
    """Call the shell, or a tool of the human's, by what this model is offered: newer ones write a program."""
    call = {"id": f"fc_{ident}", "call_id": ident}
    if isinstance(command, tuple):
        name, arguments = f"mcp__supervise__{command[0]}", json.dumps(command[1])
        if "tools" not in body:
            asked = f"await tools.{name}({arguments})" if command[0] else "ALL_TOOLS"
            program = f'// @exec: {{"yield_time_ms": 200000}}\ntext(JSON.stringify({asked}))'
            return {"type": "custom_tool_call", **call, "name": "exec", "input": program}
        return {
            "type": "function_call",
            **call,
            "name": command[0],
            "namespace": "mcp__supervise",
            "arguments": arguments,
        }
    if "tools" not in body:
        program = f"text((await tools.exec_command({json.dumps({'cmd': command})})).output)"
        return {"type": "custom_tool_call", **call, "name": "exec", "input": program}
    return {"type": "function_call", **call, "name": "exec_command", "arguments": json.dumps({"cmd": command})}


def _closing(body: Json) -> str:
    return f"All **done**: model {body['model']}."


def _results_since_prompt(items: Iterable[Json]) -> int:
    """Count the tool results behind the last thing that the user said."""
    count = 0
    for item in items:
        content = item.get("content")
        blocks = content if isinstance(content, list) else []
        kinds = {item.get("type"), *(block.get("type") for block in blocks)}
        if kinds & {"tool_result", "function_call_output", "custom_tool_call_output"}:
            count += 1
        elif item.get("role") == "user":
            count = 0
    return count


def _user_texts(body: Json) -> list[str]:
    found = []
    for item in body.get("messages") or body.get("input") or []:
        if item.get("role") == "user":
            content = item["content"]
            blocks = [{"text": content}] if isinstance(content, str) else content
            found += [block["text"].strip() for block in blocks if isinstance(block.get("text"), str)]
    return found
