"""Claude Code: `claude -p` with stream-json output and all permissions, because the bottle is the boundary.

The format is that of the CLI's `--output-format stream-json --verbose --include-partial-messages`, recorded from
version 2.1: `system/init` first, then `stream_event` (pieces), `assistant` and `user` messages in the shape of the
Messages API, `system/api_retry` while the service fails, `result` at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bb_jupyter.agent.credentials import host_of, resolve_token, token_ref
from bb_jupyter.agent.events import (
    AgentEvent,
    Failure,
    Final,
    Started,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Usage,
    unknown,
)
from bb_jupyter.agent.guest import Guest, GuestPlan, write_files
from bb_jupyter.agent.host_programs import host_program
from bb_jupyter.agent.provider import AgentProvider
from bb_jupyter.agent.provision_plan import PLACEHOLDER, AgentCommand, AgentProvisionPlan, AgentRequest, GuestFile
from bb_jupyter.agent.untrusted_json import at, count, dumped, json_object, number, objects, text
from bb_jupyter.errors import UsageError

if TYPE_CHECKING:
    from bb_jupyter.manifest import Route

#: Prefix of tokens from `claude setup-token` or a login.  These are bearer tokens; API keys have their own header.
_OAUTH_PREFIX = "sk-ant-oat"
_KEY_VARIABLE, _OAUTH_VARIABLE = "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"
#: No updates, no reports, no background work that outlives the run; and the bottle's user may be root.
_QUIET = {
    "IS_SANDBOX": "1",
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_INSTALLATION_CHECKS": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
}
#: Retries of a failing service; they take about a minute, and the CLI's default of 10 several minutes.
_RETRIES = "5"
#: Milliseconds that a call of the MCP server may take; longer than the server itself waits.  With `alwaysLoad`, the CLI
#: waits for the server before the first request, and shows its tools to the model at once.
_MCP_TIMEOUT = 86_400_000
_NOISE = {"system.status", "system.thinking_tokens", "system.compact_boundary", "stream_event", "rate_limit_event"}


class ClaudeProvider(AgentProvider):
    """Claude Code."""

    title: ClassVar[str] = "Claude Code"
    prompt_file: ClassVar[str] = ".claude/CLAUDE.md"
    skills_folder: ClassVar[str] = ".claude/skills"
    own_paths: ClassVar[tuple[str, ...]] = (".claude", ".claude.json", ".claude.json.backup")
    needs_credential: ClassVar[bool] = True

    def provision_plan(self, request: AgentRequest) -> AgentProvisionPlan:
        """Plan the answers to first-run dialogs, the route to the API, and the placeholder for its credential."""
        route, placeholder = _route(request)
        env = {**_QUIET, "CLAUDE_CODE_MAX_RETRIES": _RETRIES, placeholder: PLACEHOLDER}
        if request.agent.model:
            env["ANTHROPIC_MODEL"] = request.agent.model
        install = "npm install -g @anthropic-ai/claude-code"
        return AgentProvisionPlan(
            provider=self.name,
            title=self.title,
            files=(_state_file(request.guest_home, {}), _settings_file()),
            env=env,
            routes=route,
            host_paths=host_program("claude", install=install) if request.host_programs else (),
        )

    def command(self, prompt: str, *, resume: str = "") -> AgentCommand:
        """Return the headless run; see `AgentProvider.command`."""
        argv = ["claude", "--print", "--output-format", "stream-json", "--verbose", "--include-partial-messages"]
        argv += ["--dangerously-skip-permissions", *(["--resume", resume] if resume else [])]
        return AgentCommand(tuple(argv), prompt.encode())

    def parse(self, line: str) -> Iterable[AgentEvent]:
        """Read a line of stream-json; see `AgentProvider.parse`."""
        data = json_object(line)
        if data is None:
            return (Text(line),) if line.strip() else ()
        return tuple(_events(data))

    def provision_supervise_mcp(self, plan: GuestPlan, bottle: Guest, url: str) -> None:
        """Register the human's MCP server; see `AgentProvider.provision_supervise_mcp`."""
        servers = {"supervise": {"type": "http", "url": url, "alwaysLoad": True, "timeout": _MCP_TIMEOUT}}
        write_files(bottle, plan.guest_home, [_state_file(plan.guest_home, servers)])

    def host_credential(self) -> str:
        """Return the access token of this host's own Claude Code login."""
        file = Path.home() / ".claude" / ".credentials.json"
        try:
            token = text(json.loads(file.read_text()), "claudeAiOauth", "accessToken")
        except (OSError, ValueError):
            token = ""
        if not token:
            raise UsageError(f"no login of Claude Code in {file}", hint="Log in with `claude`, or set auth_token.")
        return token


def _route(request: AgentRequest) -> tuple[tuple[Route, ...], str]:
    """Return the route to the API (none if the manifest has one), and the variable for the placeholder."""
    from bb_jupyter.manifest import Auth, Route

    host, port = host_of(request.env.get("ANTHROPIC_BASE_URL", "https://api.anthropic.com"), "ANTHROPIC_BASE_URL")
    if request.has_route(host):
        known = request.token_ref(host)
        return (), _OAUTH_VARIABLE if known and _is_oauth(known) else _KEY_VARIABLE
    ref = token_ref(request, provider="claude", usual=(_KEY_VARIABLE, _OAUTH_VARIABLE))
    if _is_oauth(ref):
        return (Route(host=host, port=port, auth=Auth(scheme="bearer", token_ref=ref)),), _OAUTH_VARIABLE
    auth = Auth(scheme="header", header="x-api-key", token_ref=ref)
    return (Route(host=host, port=port, auth=auth),), _KEY_VARIABLE


def _is_oauth(ref: str) -> bool:
    return resolve_token(ref).startswith(_OAUTH_PREFIX)


def _state_file(home: str, mcp_servers: dict[str, Any]) -> GuestFile:
    """Return the CLI's state file: answers to first-run dialogs, and the user's MCP servers."""
    project = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
    state = {
        "hasCompletedOnboarding": True,
        "bypassPermissionsModeAccepted": True,
        "customApiKeyResponses": {"approved": [PLACEHOLDER[-20:]], "rejected": []},
        "projects": {home: project},
        "mcpServers": mcp_servers,
    }
    return GuestFile(".claude.json", json.dumps(state).encode(), 0o600)


def _settings_file() -> GuestFile:
    settings = {"includeCoAuthoredBy": False, "skipDangerousModePermissionPrompt": True, "cleanupPeriodDays": 3650}
    return GuestFile(".claude/settings.json", json.dumps(settings).encode())


def _events(data: dict[str, Any]) -> Iterator[AgentEvent]:
    kind, subtype, parent = text(data, "type"), text(data, "subtype"), text(data, "parent_tool_use_id")
    if kind == "system" and subtype == "init":
        yield Started(text(data, "session_id"), text(data, "model"))
    elif kind == "system" and subtype == "api_retry":
        yield Failure(_retry(data), retrying=True)
    elif kind == "stream_event" and text(data, "event", "type") == "content_block_delta":
        yield from _piece(data, parent)
    elif kind == "assistant" and text(data, "message", "model") != "<synthetic>":
        yield from _blocks(data, parent)
    elif kind == "user":
        yield from _results(data, parent)
    elif kind == "result":
        yield from _result(data)
    elif kind not in _NOISE and f"{kind}.{subtype}" not in _NOISE and kind != "assistant":
        yield unknown(data)


def _retry(data: dict[str, Any]) -> str:
    status = count(data, "error_status")
    why = f"{text(data, 'error') or 'no answer'}" + (f" ({status})" if status else "")
    return f"the model's service failed: {why}; attempt {count(data, 'attempt')} of {count(data, 'max_retries')}"


def _piece(data: dict[str, Any], parent: str) -> Iterator[AgentEvent]:
    delta = at(data, "event", "delta")
    if text(delta, "type") == "text_delta":
        yield Text(text(delta, "text"), partial=True, parent=parent)
    elif text(delta, "type") == "thinking_delta":
        yield Thinking(text(delta, "thinking"), partial=True, parent=parent)


def _blocks(data: dict[str, Any], parent: str) -> Iterator[AgentEvent]:
    for block in objects(data, "message", "content"):
        kind = text(block, "type")
        if kind == "text":
            yield Text(text(block, "text"), parent=parent)
        elif kind == "thinking":
            yield Thinking(text(block, "thinking"), parent=parent)
        elif kind in ("tool_use", "server_tool_use"):
            given = at(block, "input")
            yield ToolCall(
                text(block, "id"), text(block, "name"), given if isinstance(given, dict) else {}, parent=parent
            )
        elif kind != "redacted_thinking":
            yield unknown(block)


def _results(data: dict[str, Any], parent: str) -> Iterator[AgentEvent]:
    for block in objects(data, "message", "content"):
        if text(block, "type") == "tool_result":
            failed = at(block, "is_error") is True
            yield ToolResult(text(block, "tool_use_id"), _output(at(block, "content")), failed, parent=parent)


def _output(content: object) -> str:
    """Return a tool's result as text; it is text, or a list of blocks, some of them pictures."""
    if isinstance(content, str):
        return text({"text": content}, "text")
    blocks = objects({"blocks": content}, "blocks")
    if not blocks:
        return "" if content in (None, []) else dumped(content)
    return "\n".join(text(block, "text") or f"[{text(block, 'type')}]" for block in blocks)


def _result(data: dict[str, Any]) -> Iterator[AgentEvent]:
    cached = count(data, "usage", "cache_read_input_tokens")
    read = count(data, "usage", "input_tokens") + cached + count(data, "usage", "cache_creation_input_tokens")
    written, turns, cost = (
        count(data, "usage", "output_tokens"),
        count(data, "num_turns"),
        number(data, "total_cost_usd"),
    )
    yield Usage(read, written, cached, turns, cost)
    answer = text(data, "result")
    if at(data, "is_error") is True or text(data, "subtype") != "success":
        yield Failure(answer or text(data, "subtype") or "it gave up without a message")
    else:
        yield Final(answer)
