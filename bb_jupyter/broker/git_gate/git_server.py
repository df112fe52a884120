"""The git gate's HTTP side: ``http://git-gate:9418/<alias>.git``, git's smart protocol (gitprotocol-http(5))."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from bb_jupyter.approvals.kinds.base import without_paths
from bb_jupyter.broker.broker_config import GitGateConfig, GitRepoConfig
from bb_jupyter.broker.git_gate.cgi import Backend, Receive, Scope, Send, text, variables
from bb_jupyter.broker.git_gate.environment import environment
from bb_jupyter.broker.git_gate.git_errors import plain
from bb_jupyter.broker.git_gate.hook import GATE_FD
from bb_jupyter.broker.git_gate.hooks import hook_variables, install
from bb_jupyter.broker.git_gate.mirror import Mirror, mirrors_dir, remove_mirrors, sweep
from bb_jupyter.broker.git_gate.push import Push
from bb_jupyter.broker.git_gate.push_notices import Notices
from bb_jupyter.errors import BottleError

if TYPE_CHECKING:
    from bb_jupyter.approvals import Queue

_PATH: Final = re.compile(
    r"/+(?P<alias>[A-Za-z0-9][A-Za-z0-9._-]*?)(?:\.git)?/+(?P<rest>info/refs|git-(?:upload|receive)-pack)"
)
_SERVICE: Final = re.compile(rb"service=(git-(?:upload|receive)-pack)")
_LFS: Final = json.dumps(
    {"message": "the git gate carries no LFS objects: tell your human. git push --no-verify pushes the pointers alone"}
)
"""What a server says that has no such thing (Git LFS API, "Response Errors")."""
#: Requests of one bottle that run git at a time; more wait.
_MOST_AT_ONCE: Final = 8
#: Seconds that a push may take, bytes of addresses for each program that looks at it beside what it may bring, and how
#: often the most that one may bring is left in the mirror before that is tidied.
_PUSH, _PUSH_MEMORY, _UNTIDY = 1200.0, 1 << 30, 4
#: Bytes that a client may take to say what it wants and has, unpacked: 600,000 commits.  git looks for each of them.
_MOST_ASKED: Final = 32 << 20
_KEY_LINE: Final = 40
"""Lines of a private key that are shorter say nothing."""


class BrokerLike(Protocol):
    """What the gate needs of its broker, see `bb_jupyter.broker.Broker`."""

    slug: str

    @property
    def queue(self) -> Queue:
        """The bottle's approval queue."""

    def emit(self, event: str, **fields: object) -> None:
        """Tell the owner and the audit log."""


class Repository:
    """One repository of the gate.

    Args:
        slug: the bottle's.
        config: the upstream.

    Attributes:
        pushing: held by the push that arrives; one at a time, so that a bottle takes this host's memory once.
    """

    def __init__(self, slug: str, config: GitRepoConfig) -> None:
        self.mirror = Mirror(slug, config)
        self.notices = Notices(slug, self.mirror)
        self.pushing = asyncio.Lock()
        self._left = 0
        self._lock = asyncio.Lock()
        self._begun = 0
        self._failure: BottleError | OSError | None = None

    async def refresh(self) -> None:
        """Bring the mirror up to date; all who ask while that is under way wait for the next one, together.

        Raises:
            BottleError: upstream cannot be used.
            OSError: the mirror cannot.
        """
        before = self._begun
        async with self._lock:
            if self._begun == before:
                self._begun += 1
                await self._refresh()
            if self._failure is not None:
                raise self._failure

    async def make_room(self) -> None:
        """Tidy the mirror, if pushes left too much in it; only the one that holds `pushing` may.

        Raises:
            BottleError: it cannot be done.
        """
        if self._left > _UNTIDY * self.mirror.size_limit:
            await asyncio.to_thread(self.mirror.tidy)
            self._left = 0

    def take(self, size: int) -> None:
        """Take notice of what a push left in the mirror, in bytes."""
        self._left += size

    async def _refresh(self) -> None:
        self._failure = None
        try:
            await asyncio.to_thread(self.mirror.refresh)
        except (BottleError, OSError) as error:
            self._failure = error


class GitGate:
    """The ASGI application.

    Args:
        config: the repositories, **with secrets**.
        broker: the bottle's broker.
    """

    def __init__(self, config: GitGateConfig, broker: BrokerLike) -> None:
        self._broker = broker
        self._folder = mirrors_dir(broker.slug)
        self._repos = {repo.alias: Repository(broker.slug, repo) for repo in config.repos}
        self._secrets = [*config.secrets, *_keys(config.repos)]
        self._service = asyncio.Semaphore(_MOST_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the server's lifespan."""
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        if "/info/lfs/" in scope["path"]:
            return await text(send, 501, _LFS, "application/vnd.git-lfs+json")
        match = _PATH.fullmatch(scope["path"])
        repo = self._repos.get(match["alias"]) if match else None
        if not match or repo is None:
            known = ", ".join(sorted(self._repos))
            return await text(send, 404, f"the git gate has no such repository or service; it has: {known}")
        if match["rest"] == "info/refs":
            return await self._advertise(repo, scope, receive, send)
        if scope["method"] != "POST":
            return await text(send, 405, "POST it")
        request = variables(scope, match["alias"], match["rest"])
        if match["rest"] == "git-receive-pack":
            async with repo.pushing, self._service:
                return await self._push(repo, request, receive, send)
        async with self._service:
            await self._fetch(repo, request, receive, send)

    async def _advertise(self, repo: Repository, scope: Scope, receive: Receive, send: Send) -> None:
        """Say what there is, as of now."""
        service = _SERVICE.fullmatch(scope["query_string"])
        if scope["method"] != "GET" or not service:
            return await text(send, 403, "the git gate speaks git's smart protocol only")
        if failure := await self._refreshed(repo, service[1].decode()):
            return await text(send, 502, failure)
        request = variables(scope, repo.mirror.repo.alias, "info/refs")
        async with self._service:
            await Backend(self._environment({}, **request)).serve(receive, send)

    async def _fetch(self, repo: Repository, request: dict[str, str], receive: Receive, send: Send) -> None:
        settings, told = await asyncio.to_thread(self._telling, repo)
        env = self._environment(settings, GIT_HTTP_MAX_REQUEST_BUFFER=str(_MOST_ASKED), **request, **told)
        await Backend(env, unpack=True).serve(receive, send)

    async def _refreshed(self, repo: Repository, service: str) -> str:
        """Refresh, and return why that failed, in words."""
        alias = repo.mirror.repo.alias
        action = "git-fetch" if service == "git-upload-pack" else "git-push-begins"
        try:
            await repo.refresh()
            await asyncio.to_thread(repo.notices.untold)
        except (BottleError, OSError) as error:
            why = plain(str(error), 600)
            self._broker.emit(action, alias=alias, verdict="failed", reason=why)
            return f"{without_paths(why)}\nNothing was transferred. This is not yours to repair: tell your human."
        self._broker.emit(action, alias=alias, verdict="allowed")
        return ""

    def _telling(self, repo: Repository) -> tuple[dict[str, str], dict[str, str]]:
        """Return configuration and variables by which a fetch shows what the agent does not know yet."""
        notices = repo.notices.untold()
        if not notices:
            return {}, {}
        words, keys = "\n".join(notice.text for notice in notices), " ".join(notice.key for notice in notices)
        settings = {"uploadpack.packObjectsHook": str(self._folder / "hooks" / "tell")}
        return settings, {"BB_GATE_NOTICE": words, "BB_GATE_TOLD": keys}

    async def _push(self, repo: Repository, request: dict[str, str], receive: Receive, send: Send) -> None:
        try:
            await repo.make_room()
        except BottleError:
            return await text(send, 507, "the git gate has no room on its host for another push: tell your human")
        ours, theirs = socket.socketpair()
        push = Push(repo.mirror, repo.notices, self._broker.queue, self._secrets, self._broker.emit)
        with theirs:
            talking = asyncio.create_task(push.talk(ours))
            settings = {
                "core.hooksPath": str(self._folder / "hooks"),
                "receive.procReceiveRefs": "refs",
                "receive.maxInputSize": str(repo.mirror.size_limit),
            }
            env = self._environment(settings, **request, **hook_variables(), **{GATE_FD: str(theirs.fileno())})
            memory = _PUSH_MEMORY + 8 * repo.mirror.size_limit
            try:
                await Backend(env, [theirs.fileno()], memory=memory, total=_PUSH).serve(receive, send)
            finally:
                talking.cancel()
                repo.take(push.kept)

    def _environment(self, settings: dict[str, str], **variables: str) -> dict[str, str]:
        project = {"GIT_PROJECT_ROOT": str(self._folder), "GIT_HTTP_EXPORT_ALL": "1"}
        return environment({**_SERVING, **settings}, {**project, **variables})

    async def _live(self, receive: Receive, send: Send) -> None:
        """Make the mirrors when the server starts, and fetch in the background what a first clone would wait for."""
        await receive()
        try:
            await asyncio.to_thread(self._create)
        except (BottleError, OSError) as error:
            return await send({"type": "lifespan.startup.failed", "message": str(error)})
        tasks = [asyncio.create_task(_quietly(repo.refresh)) for repo in self._repos.values()]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        for task in tasks:
            task.cancel()
        await asyncio.to_thread(remove_mirrors, self._broker.slug)
        await send({"type": "lifespan.shutdown.complete"})

    def _create(self) -> None:
        sweep()
        install(self._folder / "hooks")
        for repo in self._repos.values():
            repo.mirror.create()


_SERVING: Final = {
    "http.receivepack": "true",
    "http.getanyfile": "false",
    "uploadpack.allowFilter": "true",
    "receive.fsckObjects": "true",
    "receive.unpackLimit": "1",
    "receive.autogc": "false",
    "receive.updateServerInfo": "false",
    "receive.denyDeletes": "false",
    "receive.keepAlive": "5",
    "receive.shallowUpdate": "false",
    "receive.advertisePushOptions": "false",
}


def _keys(repos: Iterable[GitRepoConfig]) -> list[str]:
    """Return what is secret of the identities: the lines of their keys, but for what every key begins with."""
    lines = []
    for repo in repos:
        with contextlib.suppress(OSError, ValueError):
            lines += Path(repo.identity).read_text(encoding="ascii").splitlines()[2:] if repo.identity else []
    return [line for line in lines if len(line) >= _KEY_LINE]


async def _quietly(job: Callable[[], Awaitable[Any]]) -> None:
    """Do something whose failure is told when it is next asked for."""
    with contextlib.suppress(BottleError, OSError):
        await job()


def app(config: GitGateConfig, broker: BrokerLike) -> GitGate:
    """Return the git gate of one bottle, an ASGI application with a lifespan.

    Args:
        config: the repositories, **with secrets**.
        broker: the bottle's broker.
    """
    return GitGate(config, broker)
