"""Codex: `codex exec --json` without its own sandbox and approvals, because the bottle is the boundary.

The format is that of the CLI's `--json`, recorded from version 0.169: `thread.started`, `turn.started`, items that
start, update and complete, `error` while it tries again, then `turn.completed` or `turn.failed`.  The answer is the
last message.
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

_API = "https://api.openai.com/v1"
_CONFIG = ".codex/config.toml"
# A model provider named `bottle`, because the CLI's built-in one signs in by browser and opens WebSockets.
_SETTINGS = """\
model_provider = "bottle"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
web_search = "disabled"
{model}
[analytics]
enabled = false

[history]
persistence = "none"

[model_providers.bottle]
name = "OpenAI through the bottle's gateway"
base_url = {base_url}
env_key = "OPENAI_API_KEY"
wire_api = "responses"

[projects.{home}]
trust_level = "trusted"
"""
# `required`, so that the first request waits for the server, and the model gets its tools.
_MCP = """
[mcp_servers.supervise]
url = {url}
required = true
startup_timeout_sec = 60
tool_timeout_sec = 86400
"""
#: Kinds of items that are tools → their fields that are the tool's input.
_TOOLS = {
    "command_execution": ("command",),
    "file_change": ("changes",),
    "mcp_tool_call": ("server", "tool", "arguments"),
    "web_search": ("query",),
    "collab_tool_call": ("tool", "prompt"),
}
_NOISE = {"turn.started", "item.updated"}
#: Start of a message that the CLI prints for every model that it does not know; it is not an error.
_HARMLESS = "Model metadata for "


class CodexProvider(AgentProvider):
    """Codex."""

    title: ClassVar[str] = "Codex"
    prompt_file: ClassVar[str] = ".codex/AGENTS.md"
    skills_folder: ClassVar[str] = ".codex/skills"
    own_paths: ClassVar[tuple[str, ...]] = (".codex",)
    needs_credential: ClassVar[bool] = True

    def provision_plan(self, request: AgentRequest) -> AgentProvisionPlan:
        """Plan the configuration, the route to the API, and the placeholder for its credential."""
        base_url = request.env.get("OPENAI_BASE_URL", _API)
        install = "npm install -g @openai/codex"
        return AgentProvisionPlan(
            provider=self.name,
            title=self.title,
            files=(GuestFile(_CONFIG, _config(request, base_url).encode()),),
            env={"OPENAI_API_KEY": PLACEHOLDER},
            routes=_routes(request, base_url),
            host_paths=host_program("codex", install=install) if request.host_programs else (),
        )

    def command(self, prompt: str, *, resume: str = "") -> AgentCommand:
        """Return the headless run; see `AgentProvider.command`."""
        options = ["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        argv = ["codex", "exec", *(["resume"] if resume else []), *options, *([resume] if resume else []), "-"]
        return AgentCommand(tuple(argv), prompt.encode())

    def parse(self, line: str) -> Iterable[AgentEvent]:
        """Read a line of `--json`; see `AgentProvider.parse`."""
        data = json_object(line)
        if data is None:
            return (Text(line),) if line.strip() else ()
        return tuple(_events(data))

    def provision_supervise_mcp(self, plan: GuestPlan, bottle: Guest, url: str) -> None:
        """Register the human's MCP server; see `AgentProvider.provision_supervise_mcp`."""
        files = plan.agent_provision.files if plan.agent_provision else ()
        config = next((file.content for file in files if file.path == _CONFIG), b"")
        content = config + _MCP.format(url=json.dumps(url)).encode()
        write_files(bottle, plan.guest_home, [GuestFile(_CONFIG, content)])

    def host_credential(self) -> str:
        """Return the API key of this host's own Codex login."""
        file = Path.home() / ".codex" / "auth.json"
        try:
            key = text(json.loads(file.read_text()), "OPENAI_API_KEY")
        except (OSError, ValueError):
            key = ""
        if not key:
            raise UsageError(
                f"no API key in {file}; a ChatGPT login belongs to its host and cannot be forwarded",
                hint="Set auth_token, or OPENAI_API_KEY in the kernel's environment.",
            )
        return key


def _routes(request: AgentRequest, base_url: str) -> tuple[Route, ...]:
    from bb_jupyter.manifest import Auth, Route

    host, port = host_of(base_url, "OPENAI_BASE_URL")
    if request.has_route(host):
        return ()
    ref = token_ref(request, provider="codex", usual=("OPENAI_API_KEY", "CODEX_API_KEY"))
    resolve_token(ref)
    return (Route(host=host, port=port, auth=Auth(scheme="bearer", token_ref=ref)),)


def _config(request: AgentRequest, base_url: str) -> str:
    model = f"model = {json.dumps(request.agent.model)}\n" if request.agent.model else ""
    return _SETTINGS.format(model=model, base_url=json.dumps(base_url), home=json.dumps(request.guest_home))


def _events(data: dict[str, Any]) -> Iterator[AgentEvent]:
    kind = text(data, "type")
    if kind == "thread.started":
        yield Started(text(data, "thread_id"))
    elif kind in ("item.started", "item.completed"):
        item = at(data, "item")
        yield from _item(item if isinstance(item, dict) else {}, kind == "item.completed")
    elif kind == "turn.completed":
        yield from _completed(data)
    elif kind == "error":
        # The last one is followed by `turn.failed`, which says the same.
        yield Failure(text(data, "message"), retrying=True)
    elif kind == "turn.failed":
        yield Failure(text(data, "error", "message") or "it gave up without a word")
    elif kind not in _NOISE:
        yield unknown(data)


def _item(item: dict[str, Any], done: bool) -> Iterator[AgentEvent]:
    kind = text(item, "type")
    if kind in _TOOLS:
        yield from _tool(item, kind, done)
    elif not done:
        return
    elif kind == "agent_message":
        yield Text(text(item, "text"))
    elif kind == "reasoning":
        yield Thinking(text(item, "text"))
    elif kind == "todo_list":
        marks = (
            ("[x] " if at(todo, "completed") is True else "[ ] ") + text(todo, "text")
            for todo in objects(item, "items")
        )
        yield Thinking("\n".join(marks))
    elif kind == "error":
        if not text(item, "message").startswith(_HARMLESS):
            yield Failure(text(item, "message"), retrying=True)
    else:
        yield unknown(item)


def _tool(item: dict[str, Any], kind: str, done: bool) -> Iterator[AgentEvent]:
    ident = text(item, "id")
    if not done:
        yield ToolCall(ident, kind, {key: item[key] for key in _TOOLS[kind] if key in item})
        return
    code = number(item, "exit_code")
    failed = text(item, "status") in ("failed", "declined") or bool(code)
    yield ToolResult(ident, text(item, "aggregated_output") or _outcome(item), failed)


def _outcome(item: dict[str, Any]) -> str:
    """Return the result of a tool that runs no command: a message, changed files, or an MCP server's answer."""
    if message := text(item, "error", "message"):
        return message
    if changes := objects(item, "changes"):
        return "\n".join(f"{text(change, 'kind')} {text(change, 'path')}" for change in changes)
    result = at(item, "result")
    return "" if result is None else dumped(result)


def _completed(data: dict[str, Any]) -> Iterator[AgentEvent]:
    usage = at(data, "usage")
    yield Usage(count(usage, "input_tokens"), count(usage, "output_tokens"), count(usage, "cached_input_tokens"))
