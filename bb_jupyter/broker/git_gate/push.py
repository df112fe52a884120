"""One push in the gate's own process: the other end of its hooks' socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from bb_jupyter.broker.git_gate.hold import Held, hold
from bb_jupyter.broker.git_gate.mirror import Mirror
from bb_jupyter.broker.git_gate.push_notices import Notices
from bb_jupyter.broker.git_gate.push_rules import Update
from bb_jupyter.errors import BottleError
from bb_jupyter.process.jsonl import decode, encode

if TYPE_CHECKING:
    from bb_jupyter.approvals import Queue

#: Most bytes of one line from a hook; a proposal holds a million.
_LONGEST: Final = 4 << 20


class Push:
    """Answers the hooks of one push.

    Args:
        mirror: where it arrives.
        notices: what the agent does not know yet.
        queue: the bottle's.
        secrets: what no push may carry.
        emit: tells the owner and the audit log.

    Attributes:
        kept: bytes that it left in the mirror.
    """

    def __init__(
        self, mirror: Mirror, notices: Notices, queue: Queue, secrets: Iterable[str], emit: Callable[..., None]
    ) -> None:
        self._mirror, self._notices, self._queue, self._emit = mirror, notices, queue, emit
        self._secrets = [*secrets]
        self._content: dict[str, Any] | None = None
        self._updates: list[dict[str, str]] = []
        self.kept = 0

    async def talk(self, ours: socket.socket) -> None:
        """Answer until the hooks are gone."""
        reader, writer = await asyncio.open_connection(sock=ours, limit=_LONGEST)
        with contextlib.suppress(ConnectionError, ValueError):
            while line := await reader.readline():
                message = decode(line) or {}
                answer = await asyncio.to_thread(self._answer_or_fail, message)
                writer.write(encode(**answer))
                await writer.drain()
        writer.close()

    def _answer_or_fail(self, message: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._answer(message)
        except (BottleError, OSError, KeyError, TypeError) as error:
            why = str(error) if isinstance(error, BottleError) else type(error).__name__
            self._tell("failed", reason=why)
            return {"failed": why}

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["op"] == "begin":
            return self._begin()
        if message["op"] == "checked":
            return self._checked(message)
        return self._hold(message)

    def _begin(self) -> dict[str, Any]:
        """Return what the check needs."""
        repo = self._mirror.repo
        return {
            "protected": repo.protected,
            "allow_force": repo.allow_force,
            "allow_delete": repo.allow_delete,
            "max_push": self._mirror.size_limit,
            "refs": self._mirror.refs(),
            "secrets": self._secrets,
            "notices": self._notices.tell(self._notices.untold()),
        }

    def _checked(self, message: dict[str, Any]) -> dict[str, Any]:
        """Remember what was found."""
        self._content, self._updates = message["content"], message["updates"]
        if reasons := message["reasons"]:
            self._tell("refused", reason="; ".join(reasons))
        else:
            self.kept = int(message["size"])
        return {}

    def _hold(self, message: dict[str, Any]) -> dict[str, Any]:
        """Hold what was checked, and nothing else."""
        updates = [Update(**update) for update in message["updates"]]
        if self._content is None or {*updates} != {Update(**update) for update in self._updates}:
            held = Held(None, ["Not held: this is not what was checked."], "not checked")
        else:
            with self._mirror.lock():
                held = hold(self._mirror, self._queue, self._content, updates)
        if held.id is not None:
            self._tell("held", id=held.id)
        else:
            self._tell("refused", reason=held.error)
        return {"id": held.id, "lines": [*held.lines], "error": held.error}

    def _tell(self, verdict: str, **fields: object) -> None:
        refs = [update["name"] for update in self._updates][:50]
        self._emit("git-push", alias=self._mirror.repo.alias, verdict=verdict, refs=refs, **fields)
