"""The handle of a bottle of this process: the object that `launch` returns to Python code and to the magics."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Protocol, Self

from bb_jupyter import manifest
from bb_jupyter.agent.changed_files import changed, listing
from bb_jupyter.agent.guest import Command, CommandRunner
from bb_jupyter.agent.process_tree import interruptible
from bb_jupyter.agent.prompt import prompt_text, session_name
from bb_jupyter.agent.provider import AgentProvider
from bb_jupyter.agent.registry import get_provider
from bb_jupyter.backend.bottle import Bottle
from bb_jupyter.backend.execution import Execution
from bb_jupyter.backend.plan import BottlePlan
from bb_jupyter.backend.shared.archive import BeforeCopy, CopyReport, nothing
from bb_jupyter.core import logs
from bb_jupyter.core.agent_run import AgentResult, AgentRun
from bb_jupyter.core.git_history import MAX_REPOSITORIES, bring_history
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.errors import UsageError
from bb_jupyter.gateway.egress_plan import RoutePlan

#: Runs a cell's body with bash, or with sh in an image without bash; both stop at the first command that fails (`-e`).
_CELL_SHELL = (
    'if command -v bash >/dev/null 2>&1; then exec bash --noprofile --norc -e -c "$1" cell; fi; exec sh -e -c "$1" cell'
)
#: Longest body in bytes that fits one argument of execve (MAX_ARG_STRLEN is 128 KiB).
MAX_SCRIPT = 120 << 10


class HandleOwner(Protocol):
    """The part of `Session` that a handle needs."""

    def handles(self) -> list[BottleHandle]:
        """Return the bottles of this process."""

    def stop(self, name: str) -> None:
        """Remove a bottle."""

    def branch(self, source: BottleHandle, n: int = 1, names: Sequence[str] = ()) -> list[BottleHandle]:
        """Start bottles with the files of *source*."""


class BottleHandle(CommandRunner[Execution]):
    """A bottle of this process.  Leaving its `with` block stops it.

    Attributes:
        bottle: the backend's object.
        options: how the bottle was launched; `None` after `attach`.
        conversation: name of the agent's latest conversation; empty for none.
    """

    def __init__(
        self, bottle: Bottle, stack: ExitStack, session: HandleOwner, options: LaunchOptions | None = None
    ) -> None:
        self.bottle = bottle
        self.options = options
        self.conversation = ""
        self._stack = stack
        self._session = session

    @property
    def name(self) -> str:
        """The name that the user gave the bottle."""
        return self.bottle.name

    @property
    def slug(self) -> str:
        """The bottle's unique name: no other bottle ever has the same."""
        return self.bottle.slug

    @property
    def plan(self) -> BottlePlan:
        """The plan that was launched."""
        return self.bottle.plan

    def start(self, command: Command) -> Execution:
        """Start a command; see `Bottle.exec`."""
        return self.bottle.start(command)

    def run(
        self,
        script: str,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        timeout: float | None = None,
    ) -> tuple[Execution, logs.CellLog]:
        """Start a shell script as a cell does: by `bash -e`, or by `sh -e` in an image without bash.

        The script's standard input is empty.

        Args:
            script: the script, at most `MAX_SCRIPT` bytes.
            env: variables beside those of the bottle.
            cwd: working directory.
            user: user in the bottle.
            timeout: seconds; `None` for the bottle's limit.

        Returns:
            The execution, and the log to which reading the execution writes its whole output.  The caller closes the
            log.

        Raises:
            BottleGone: the bottle died or was stopped.
            UsageError: the script is too long or contains a NUL.
        """
        body = script.encode("utf-8", "surrogateescape")
        if len(body) > MAX_SCRIPT:
            raise UsageError(
                f"the cell is {len(body)} bytes long; the limit is {MAX_SCRIPT}",
                hint="Put the data into a file and copy it in: --copy FILE.",
            )
        log = logs.new_log(self.bottle.slug)
        argv = ["sh", "-c", _CELL_SHELL, "cell", script]
        execution = self.bottle.exec(argv, env=env, cwd=cwd, user=user, timeout=timeout)
        return execution.tee(lambda chunk: log.write(chunk.data)), log

    def ask(
        self,
        prompt: str | bytes,
        *,
        resume: bool | str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout: float | None = None,
    ) -> AgentRun:
        """Start the bottle's agent on a prompt.

        Args:
            prompt: any text, or its UTF-8 encoding.
            resume: `None` continues the bottle's conversation if there is one; `True` requires one; `False` starts a
                new one; a name continues the conversation of that name.
            env: variables beside those of the bottle.
            cwd: working directory.
            timeout: seconds; `None` for the bottle's limit.

        Returns:
            The run: iterate it for `AgentEvent`s, or `wait` for its `AgentResult`.

        Raises:
            UsageError: the bottle has no agent, the prompt cannot be one, or there is no conversation to continue.
            BottleGone: the bottle died or was stopped.
        """
        provider = self._provider()
        command = provider.command(prompt_text(prompt), resume=self._conversation(resume))
        home, folder = self.plan.guest_home, cwd or self.plan.spec.cwd
        before = listing(self.bottle, home, folder, provider.own_paths)
        argv, interrupt = interruptible(self.bottle, home, command.argv)
        log = logs.new_log(self.bottle.slug)
        execution = self.bottle.exec(
            argv, stdin=command.stdin, env={**command.env, **(env or {})}, cwd=cwd, timeout=timeout
        )

        def end(result: AgentResult) -> None:
            log.close()
            self.conversation = result.session or self.conversation

        return AgentRun(
            execution.tee(lambda chunk: log.write(chunk.data)),
            provider,
            log=log.path,
            interrupt=interrupt,
            changed=lambda: changed(before, listing(self.bottle, home, folder, provider.own_paths)),
            on_end=end,
        )

    def _provider(self) -> AgentProvider:
        declared = self.plan.agent_provision
        if declared is None:
            raise UsageError(f"bottle '{self.name}' has no agent", hint="Launch it with --agent NAME.")
        return get_provider(declared.provider)

    def _conversation(self, resume: bool | str | None) -> str:
        if isinstance(resume, str):
            return session_name(resume)
        if resume and not self.conversation:
            raise UsageError(f"bottle '{self.name}' has no conversation yet", hint="Leave out --resume.")
        return "" if resume is False else self.conversation

    def cp_in(self, source: str | Path, target: str = "", *, take: Collection[str] = ()) -> CopyReport:
        """Copy a file or directory of the host into the bottle; see `Bottle.cp_in`."""
        return self.bottle.cp_in(Path(source).expanduser().absolute(), target or ".", take=take)

    def cp_out(
        self, source: str, target: str | Path = ".", *, take: Collection[str] = (), before: BeforeCopy = nothing
    ) -> CopyReport:
        """Copy a file or directory out of the bottle; see `Bottle.cp_out`.

        The commits of repositories come home as objects that git of this host has checked: under
        `refs/bottles/<bottle>/` of the repository that is there already, or as the branches of a new one.  The report's
        `history` says so.
        """
        place = Path(target).expanduser().absolute()
        root = place if place.is_dir() else place.parent
        report = self.bottle.cp_out(source, place, take=take, before=before)
        for relative in report.repositories[:MAX_REPOSITORIES]:
            folder, below = root / relative, PurePosixPath(relative).parts[1:]
            if relative != "." and folder.is_dir():
                inside = str(PurePosixPath(self.plan.guest_home, source, *below))
                report.history.append(f"{relative}: {bring_history(self.bottle, inside, folder)}")
        return report

    def allow(self, *hosts: str) -> int:
        """Let this bottle reach more hosts from now on.

        Args:
            hosts: each `HOST` or `HOST:PORT`; the host is exact or `*.suffix`.

        Returns:
            The number of the policy that is now in force; each change adds 1.

        Raises:
            UsageError: one of *hosts* is not a host.
            ManifestError: the gateway refused the policy; nothing has changed.
            BackendUnavailable: the gateway does not start.
            BottleGone: the bottle or its gateway died.
        """
        more = (RoutePlan.from_route(manifest.allowed_route(host), "allowed") for host in hosts)
        return self.bottle.allow_more(*more)

    def branch(self, n: int = 1, *, names: Sequence[str] = ()) -> list[BottleHandle]:
        """Start bottles with a copy of this one's current files: prepare once, run many.

        Each new bottle is launched as this one was, with its own name, gateway and state.  It ends with this process or
        by `stop`.  Running programs are copied only where a machine's memory is cloned (smol cloud).  A later `allow`
        changes one bottle only.

        Args:
            n: how many; they get the first free names of `NAME-1`, `NAME-2`, …
            names: the new bottles' names, instead of *n*.

        Returns:
            The running bottles, in order.

        Raises:
            UsageError: a name or the number is wrong.
            NameTaken: a live bottle has one of *names*.
            BackendUnavailable: the files cannot be copied, or a bottle does not start; then none stays.
            BottleGone: this bottle died or was stopped.
        """
        return self._session.branch(self, n, names)

    def stop(self) -> None:
        """Remove the bottle with all its files.  Idempotent."""
        if self in self._session.handles():
            self._session.stop(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.bottle.alive else "gone"
        return f"<bottle {self.name}: {self.plan.spec.backend}, {state}>"

    def release(self) -> None:
        """End this process's hold: a kept bottle runs on, any other is removed.  Idempotent."""
        self._stack.close()
