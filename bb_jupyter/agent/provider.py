"""The base class of agent providers, and what every provider does unless it says otherwise."""

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
        name: as manifests name it; the folder's name, set by the registry.
        title: what people call it.
        prompt_file: where standing instructions go, relative to the agent's home.
        skills_folder: where skills go, relative to the agent's home.
        own_paths: what the agent itself keeps in its home, which are no changed files.
        needs_credential: it works with a service that wants to know who pays.
    """

    name: str = ""
    title: ClassVar[str] = ""
    prompt_file: ClassVar[str] = f"{BOTTLE_FOLDER}/prompt.md"
    skills_folder: ClassVar[str] = f"{BOTTLE_FOLDER}/skills"
    own_paths: ClassVar[tuple[str, ...]] = ()
    needs_credential: ClassVar[bool] = False

    @abstractmethod
    def command(self, prompt: str, *, resume: str = "") -> AgentCommand:
        """Return the command that works on *prompt* without a terminal and prints what it does, an event a line.

        Args:
            prompt: any text; hand it over on the standard input.
            resume: the session to go on with, as a `Started` event named it; empty for a new one.
        """

    def parse(self, line: str) -> Iterable[AgentEvent]:
        """Return the events that a line of the command's output stands for: any number, none for noise.

        The default reads the protocol of `bb_jupyter.agent.events`.  Whatever a line holds, nothing may be raised; what
        is not known becomes an `Other`.

        Args:
            line: without its line end; hostile.
        """
        return from_line(line)

    @property
    def dockerfile(self) -> Path | None:
        """The Dockerfile of an image with the agent: the one beside the provider's module, or beside that of
        the provider that it extends; `None` for none."""
        classes = (cls for cls in type(self).__mro__ if issubclass(cls, AgentProvider))
        files = (Path(inspect.getfile(cls)).with_name("Dockerfile") for cls in classes)
        return next((file for file in files if file.is_file()), None)

    def provision_plan(self, request: AgentRequest) -> AgentProvisionPlan:
        """Decide what the bottle needs: files, variables, routes, commands, parts of the host.  Nothing is started.

        Raises:
            BottleError: it cannot work here, such as when a credential or a program of the host is missing.
        """
        return AgentProvisionPlan(provider=self.name, title=self.title)

    def host_credential(self) -> str:
        """Return the credential with which this host's user is logged in to the agent, for built-in providers.

        Raises:
            BottleError: there is none, or none that can be forwarded.
        """
        raise UsageError(f"{self.title or self.name} has no login of this host that could be forwarded")

    def provision_ca(self, plan: GuestPlan, bottle: Guest, ca_pem: str) -> None:
        """Let programs in the bottle trust the gateway's certificates, beside those that the image trusts.

        The variables by which they find them, `steps.CA_VARIABLES`, are the bottle's from its launch on.

        Raises:
            BottleError: it failed.
        """
        provisioning.provision_ca(plan, bottle, ca_pem)

    def provision_prompt(self, plan: GuestPlan, bottle: Guest) -> None:
        """Give the agent its standing instructions.

        Raises:
            BottleError: it failed.
        """
        if plan.agent_provision and plan.agent_provision.prompt:
            prompt = GuestFile(self.prompt_file, plan.agent_provision.prompt.encode())
            write_files(bottle, plan.guest_home, [prompt])

    def provision_skills(self, plan: GuestPlan, bottle: Guest) -> None:
        """Copy the agent's skills in.

        Raises:
            BottleError: it failed.
        """
        if plan.agent_provision and plan.agent_provision.skills:
            provisioning.provision_skills(plan, bottle, self.skills_folder)

    def provision(self, plan: GuestPlan, bottle: Guest) -> None:
        """Do what `provision_plan` declared: write the files, run the commands.

        Raises:
            BottleError: it failed.
        """
        declared = plan.agent_provision
        if declared and declared.files:
            write_files(bottle, plan.guest_home, declared.files)
        for command in declared.commands if declared else ():
            run(bottle, f"run {command[0]}", command)

    def provision_git(self, plan: GuestPlan, bottle: Guest, gate: GitGatePlan) -> None:
        """Tell the bottle's git who commits, and that the gate stands in for the repositories' own hosts.

        Raises:
            BottleError: it failed.
        """
        provisioning.provision_git(plan, bottle, gate)

    def provision_supervise_mcp(self, plan: GuestPlan, bottle: Guest, url: str) -> None:  # noqa: B027
        """Tell the agent of the MCP server by which it reaches its human; the default does nothing.

        Args:
            plan: the launch.
            bottle: the bottle.
            url: of the server.

        Raises:
            BottleError: it failed.
        """
