"""The base class of agent providers, with the default behaviour of every provider."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bb_jupyter.agent import provisioning
from bb_jupyter.agent.events import AgentEvent, from_line
from bb_jupyter.agent.guest import Guest, GuestPlan, run, write_files
from bb_jupyter.agent.provision_plan import BOTTLE_FOLDER, AgentCommand, AgentProvisionPlan, AgentRequest, GuestFile
from bb_jupyter.errors import UsageError

if TYPE_CHECKING:
    from bb_jupyter.broker.broker_plan import GitGatePlan


class AgentProvider(ABC):
    """One kind of agent.  Stateless: one object serves every bottle, from any thread.

    Attributes:
        name: the provider's name in manifests; the registry sets it to the folder's name.
        title: the name shown to people.
        prompt_file: file for the standing instructions, relative to the agent's home.
        skills_folder: folder for skills, relative to the agent's home.
        own_paths: the agent program's own files in its home; they never count as changed files.
        needs_credential: the agent's service requires a credential.
    """

    name: str = ""
    title: ClassVar[str] = ""
    prompt_file: ClassVar[str] = f"{BOTTLE_FOLDER}/prompt.md"
    skills_folder: ClassVar[str] = f"{BOTTLE_FOLDER}/skills"
    own_paths: ClassVar[tuple[str, ...]] = ()
    needs_credential: ClassVar[bool] = False

    @abstractmethod
    def command(self, prompt: str, *, resume: str = "") -> AgentCommand:
        """Return the command that works on *prompt* without a terminal, and prints one event a line.

        Args:
            prompt: any text; pass it on the standard input.
            resume: the session to continue, as a `Started` event named it; empty for a new one.
        """

    def parse(self, line: str) -> Iterable[AgentEvent]:
        """Return the events in a line of the command's output: any number, or none.

        The default parses the protocol of `bb_jupyter.agent.events`.  It must not raise, whatever the line contains; an
        unknown event becomes an `Other`.

        Args:
            line: the line without its end; hostile.
        """
        return from_line(line)

    @property
    def dockerfile(self) -> Path | None:
        """The Dockerfile of an image with the agent; `None` for none.

        It lies beside the provider's module, or beside the module of the provider that it extends.
        """
        classes = (cls for cls in type(self).__mro__ if issubclass(cls, AgentProvider))
        files = (Path(inspect.getfile(cls)).with_name("Dockerfile") for cls in classes)
        return next((file for file in files if file.is_file()), None)

    def provision_plan(self, request: AgentRequest) -> AgentProvisionPlan:
        """Decide what the bottle needs: files, variables, routes, commands, parts of the host.  Start nothing.

        Raises:
            BottleError: the agent cannot work here; for instance a credential or a program of the host is missing.
        """
        return AgentProvisionPlan(provider=self.name, title=self.title)

    def host_credential(self) -> str:
        """Return the credential of the user's login to the agent on this host (built-in providers only).

        Raises:
            BottleError: there is no login, or it cannot be forwarded.
        """
        raise UsageError(f"{self.title or self.name} has no login on this host that could be forwarded")

    def provision_ca(self, plan: GuestPlan, bottle: Guest, ca_pem: str) -> None:
        """Make programs in the bottle trust the gateway's certificates, in addition to those that the image trusts.

        The bottle has the variables `provisioning.CA_VARIABLES`, which name the CA bundle, from its launch on.

        Raises:
            BottleError: a step failed in the bottle.
        """
        provisioning.provision_ca(plan, bottle, ca_pem)

    def provision_prompt(self, plan: GuestPlan, bottle: Guest) -> None:
        """Write the agent's standing instructions.

        Raises:
            BottleError: a step failed in the bottle.
        """
        if plan.agent_provision and plan.agent_provision.prompt:
            prompt = GuestFile(self.prompt_file, plan.agent_provision.prompt.encode())
            write_files(bottle, plan.guest_home, [prompt])

    def provision_skills(self, plan: GuestPlan, bottle: Guest) -> None:
        """Copy the agent's skills into the bottle.

        Raises:
            BottleError: a step failed in the bottle.
        """
        if plan.agent_provision and plan.agent_provision.skills:
            provisioning.provision_skills(plan, bottle, self.skills_folder)

    def provision(self, plan: GuestPlan, bottle: Guest) -> None:
        """Carry out the plan of `provision_plan`: write its files, run its commands.

        Raises:
            BottleError: a step failed in the bottle.
        """
        declared = plan.agent_provision
        if declared and declared.files:
            write_files(bottle, plan.guest_home, declared.files)
        for command in declared.commands if declared else ():
            run(bottle, f"run {command[0]}", command)

    def provision_git(self, plan: GuestPlan, bottle: Guest, gate: GitGatePlan) -> None:
        """Configure the bottle's git: who commits, and the git gate in place of the repositories' hosts.

        Raises:
            BottleError: a step failed in the bottle.
        """
        provisioning.provision_git(plan, bottle, gate)

    def provision_supervise_mcp(self, plan: GuestPlan, bottle: Guest, url: str) -> None:  # noqa: B027
        """Register the MCP server through which the agent asks its human; the default does nothing.

        Args:
            plan: the bottle's plan.
            bottle: the bottle.
            url: the server's URL.

        Raises:
            BottleError: a step failed in the bottle.
        """
