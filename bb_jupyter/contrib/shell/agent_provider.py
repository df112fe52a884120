"""A scripted agent for teaching and tests.  The prompt is a list of steps, and no model is used.

    think The parser drops the last line.
    run python -m pytest -q
    write fix.py
    | def last(lines):
    |     return lines[-1]
    done Fixed **fix.py**.

`agent.sh` runs in the bottle; its header describes every step.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import ClassVar

from bb_jupyter.agent.guest import Guest, GuestPlan, write_files
from bb_jupyter.agent.provider import AgentProvider
from bb_jupyter.agent.provision_plan import BOTTLE_FOLDER, AgentCommand, AgentProvisionPlan, AgentRequest, GuestFile

_PROGRAM = f"{BOTTLE_FOLDER}/agent.sh"


class ShellProvider(AgentProvider):
    """The scripted agent; it prints the protocol of `bb_jupyter.agent.events`."""

    title: ClassVar[str] = "scripted agent"

    def provision_plan(self, request: AgentRequest) -> AgentProvisionPlan:
        """Plan the program that carries out the steps."""
        program = Path(__file__).with_name("agent.sh").read_bytes()
        return AgentProvisionPlan(self.name, self.title, files=(GuestFile(_PROGRAM, program, 0o755),))

    def provision_supervise_mcp(self, plan: GuestPlan, bottle: Guest, url: str) -> None:
        """Write the server's URL for the steps `ask` and `mcp`; see `AgentProvider.provision_supervise_mcp`."""
        write_files(bottle, plan.guest_home, [GuestFile(f"{BOTTLE_FOLDER}/shell/supervise", url.encode())])

    def command(self, prompt: str, *, resume: str = "") -> AgentCommand:
        """Return the run of the steps in *prompt*; see `AgentProvider.command`."""
        session = resume or str(uuid.uuid4())
        return AgentCommand(("sh", "-c", f'exec sh "$HOME/{_PROGRAM}" "$1"', "agent", session), prompt.encode())
