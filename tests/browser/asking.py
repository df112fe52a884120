"""A bottle's program that asks its human over MCP, as an agent does."""

from __future__ import annotations

#: Defines the bottle that may ask.
MANIFEST = "%%bottle_manifest asks\nsupervise: true"

_SCRIPT = """
import json, sys, urllib.request
tool, arguments = sys.argv[1], json.loads(sys.argv[2])
call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
request = urllib.request.Request("http://supervise:9100/", json.dumps(call).encode(), headers)
for line in urllib.request.urlopen(request, timeout=300):
    text = line.decode().removeprefix("data: ").strip()
    if text.startswith("{") and "result" in json.loads(text):
        print("HEARD", json.loads(text)["result"]["content"][0]["text"], flush=True)
"""


def cell(name: str, tool: str, arguments: str) -> str:
    """Return a cell that asks, and prints before, meanwhile and after."""
    return (
        f"%%bottle {name} --bottle asks\ncat > ask.py <<'END'{_SCRIPT}END\necho BEFORE\n"
        "(i=0; while true; do i=$((i+1)); echo TICK $i; sleep 0.2; done) & ticks=$!\n"
        f"python3 ask.py {tool} '{arguments}'\nkill $ticks\necho AFTER"
    )
