"""One bottle that this process holds, and how it was launched: what Python code calls, and magics by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol, Self

from bb_jupyter import manifest
from bb_jupyter.agent.changes import changed, listing
from bb_jupyter.agent.interrupt import interruptible
from bb_jupyter.agent.prompt import prompt_text, session_name
from bb_jupyter.agent.provider import AgentProvider
from bb_jupyter.agent.registry import get_provider
from bb_jupyter.backend.bottle import Bottle
from bb_jupyter.backend.execution import Execution
from bb_jupyter.backend.plan import BottlePlan
from bb_jupyter.backend.shared.archive import CopyReport
from bb_jupyter.core import logs
from bb_jupyter.core.agent_run import AgentResult, AgentRun
from bb_jupyter.errors import UsageError
from bb_jupyter.gateway.egress_plan import RoutePlan
from bb_jupyter.manifest import Limits

#: How a cell's body runs: bash where the bottle has it, else sh; both stop at the first command that fails (`-e`).
_CELL_SHELL = (
    'if command -v bash >/dev/null 2>&1; then exec bash --noprofile --norc -e -c "$1" cell; fi; exec sh -e -c "$1" cell'
)
#: Longest body that fits one argument of execve (MAX_ARG_STRLEN is 128 KiB).
MAX_SCRIPT = 120 << 10


@dataclass(frozen=True)
class LaunchOptions:
    """How to launch a bottle; what is empty comes from its manifest or from the defaults.

    Attributes:
        agent: name of an agent manifest.
        bottle: name of a bottle manifest.
        backend: name of a backend.
        image: image to run (docker).
        allow: hosts that the gateway lets through beside the manifest's routes.
        env: variables for every command.
        copy: `SRC[:DST]` of what to copy in.
        cwd: default working directory.
        user: default user in the bottle.
        limits: limits that win over the manifest's.
        keep: the bottle outlives this process.
    """

    agent: str = ""
    bottle: str = ""
    backend: str = ""
    image: str = ""
    allow: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    copy: tuple[str, ...] = ()
    cwd: str = ""
    user: str = ""
    limits: Limits = field(default_factory=Limits)
    keep: bool = False


class Holder(Protocol):
    """Who holds bottles: the process's session."""

    def handles(self) -> list[BottleHandle]:
        """Return the bottles that are held."""

    def stop(self, name: str) -> None:
        """Remove a bottle."""

    def branch(self, source: BottleHandle, n: int = 1, names: Sequence[str] = ()) -> list[BottleHandle]:
        """Start bottles with the files of *source*."""


class BottleHandle:
    """A bottle that this process holds.  Leaving its `with` block stops it.

    Attributes:
        bottle: the backend's.
        options: how it was launched; `None` when it was attached to.
        conversation: name of the agent's latest conversation; empty for none.
    """

    def __init__(self, bottle: Bottle, stack: ExitStack, holder: Holder, options: LaunchOptions | None = None) -> None:
        self.bottle = bottle
        self.options = options
        self.conversation = ""
        self._stack = stack
        self._holder = holder

    @property
    def name(self) -> str:
        """What the user calls it."""
        return self.bottle.name

    @property
    def slug(self) -> str:
        """Its identity for ever."""
        return self.bottle.slug

    @property
    def plan(self) -> BottlePlan:
        """What was launched."""
        return self.bottle.plan

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        timeout: float | None = None,
    ) -> Execution:
        """Start a command; see `Bottle.exec`."""
        return self.bottle.exec(argv, stdin=stdin, env=env, cwd=cwd, user=user, timeout=timeout)

    def run(
        self,
        script: str,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        timeout: float | None = None,
    ) -> tuple[Execution, logs.CellLog]:
        """Start a shell script as a cell does: `bash -e` where the bottle has bash, else `sh -e`; its input is empty.

        Args:
            script: what to run, at most `MAX_SCRIPT` bytes.
            env: variables beside those of the bottle.
            cwd: working directory.
            user: user in the bottle.
            timeout: seconds.

        Returns:
            The execution and the log that gets all of its output while it is read; the reader closes the log.

        Raises:
            BottleGone: the bottle died or was stopped.
            UsageError: the script is too long or holds a NUL.
        """
        body = script.encode("utf-8", "surrogateescape")
        if len(body) > MAX_SCRIPT:
            raise UsageError(
                f"the cell is {len(body)} bytes long, {MAX_SCRIPT} are possible",
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
        """Let the bottle's agent work on a prompt.

        Args:
            prompt: any text, or its UTF-8.
            resume: whether the agent goes on with this bottle's conversation: `None` when there is one, `True` always,
                `False` never; or the name of a conversation.
            env: variables beside those of the bottle.
            cwd: working directory.
            timeout: seconds; `None` for the bottle's limit.

        Returns:
            The run: iterate it for `AgentEvent`s, or `wait` for its `AgentResult`.

        Raises:
            UsageError: the bottle has no agent, the prompt is not one, or there is no conversation yet.
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
            raise UsageError(f"bottle '{self.name}' has no conversation yet", hint="Leave --resume out.")
        return "" if resume is False else self.conversation

    def cp_in(self, source: str | Path, target: str = "") -> CopyReport:
        """Copy a file or directory of the host into the bottle; see `Bottle.cp_in`."""
        return self.bottle.cp_in(Path(source).expanduser().absolute(), target or ".")

    def cp_out(self, source: str, target: str | Path = ".") -> CopyReport:
        """Copy a file or directory out of the bottle; see `Bottle.cp_out`."""
        return self.bottle.cp_out(source, Path(target).expanduser().absolute())

    def allow(self, *hosts: str) -> int:
        """Let the bottle reach more hosts, from now on and in this bottle only.

        Args:
            hosts: `HOST` or `HOST:PORT`; exact or `*.suffix`.

        Returns:
            The policy's generation.

        Raises:
            UsageError: that is no host.
            ManifestError: the gateway refused the policy; nothing has changed.
            BackendUnavailable: the gateway does not start.
            BottleGone: the bottle or its gateway died.
        """
        more = (RoutePlan.from_route(manifest.allowed_route(host), "allowed") for host in hosts)
        return self.bottle.allow_more(*more)

    def branch(self, n: int = 1, *, names: Sequence[str] = ()) -> list[BottleHandle]:
        """Start bottles with the files that this one has now: prepare once, run many.

        Each is a bottle of its own, launched as this one was, with its own name, gateway and state; it ends with this
        process or by `stop`.  Programs that run go along only where a machine's memory is cloned (smol cloud); `allow`
        widens each bottle by itself.

        Args:
            n: how many; names are `NAME-1`, `NAME-2`, … as far as they are free.
            names: what to call them, instead of *n*.

        Returns:
            The running bottles, in order.

        Raises:
            UsageError: a name or the number is wrong.
            NameTaken: a live bottle has one of *names*.
            BackendUnavailable: the files cannot be held, or a bottle does not start; none of them stays.
            BottleGone: this bottle died or was stopped.
        """
        return self._holder.branch(self, n, names)

    def stop(self) -> None:
        """Remove the bottle and all it has.  Idempotent."""
        if self in self._holder.handles():
            self._holder.stop(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "running" if self.bottle.alive else "gone"
        return f"<bottle {self.name}: {self.plan.spec.backend}, {state}>"

    def release(self) -> None:
        """Let it go: it is removed, or runs on without this process when it is kept.  Idempotent."""
        self._stack.close()
