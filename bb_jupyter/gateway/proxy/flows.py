"""Flows: tunnels and requests under way, counted, timed, and ended when idle or no longer allowed."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Self

from bb_jupyter.gateway.control.gateway_config import GatewayLimits
from bb_jupyter.gateway.control.gateway_events import Events
from bb_jupyter.policy.matcher import Policy


@dataclass(eq=False, slots=True)
class Flow:
    """One tunnel or request; leaving its context ends it.

    Attributes:
        number: unique in this gateway; joins the events of one flow.
        allowed: returns whether a policy still allows it.
        abort: ends it at once.
        counted: called with each number of bytes that passes.
        left: called when it is over.
        up: bytes sent to the server.
        down: bytes sent to the client.
        status: HTTP status of the answer; 0 for a tunnel.
        error: why it failed; empty if it did not.
        touched: when the last byte passed, monotonic seconds.
    """

    number: int
    allowed: Callable[[Policy], bool]
    abort: Callable[[], object]
    counted: Callable[[int], object]
    left: Callable[[Flow], object]
    up: int = 0
    down: int = 0
    status: int = 0
    error: str = ""
    began: float = field(default_factory=time.monotonic)
    touched: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.left(self)

    def sent(self, count: int) -> None:
        """Count bytes to the server."""
        self.up += count
        self.touched = time.monotonic()
        self.counted(count)

    def received(self, count: int) -> None:
        """Count bytes to the client."""
        self.down += count
        self.touched = time.monotonic()
        self.counted(count)

    def end(self, error: str) -> None:
        """Abort, remembering why."""
        self.error = self.error or error
        self.abort()


class Flows:
    """The flows of one gateway.

    Args:
        events: where their ends are reported.
        limits: idle and total times.

    Attributes:
        passed: bytes of all flows so far, those under way included, both directions together.
    """

    def __init__(self, events: Events, limits: GatewayLimits) -> None:
        self._events, self._limits = events, limits
        self._active: dict[int, Flow] = {}
        self._numbers = itertools.count(1)
        self.passed = 0
        self._most: int | None = None
        self._spent: Callable[[], object] = bool

    def __len__(self) -> int:
        return len(self._active)

    def open(self, allowed: Callable[[Policy], bool], abort: Callable[[], object], **facts: object) -> Flow:
        """Register a flow, report that it was allowed, and report its end with byte counts.

        Args:
            allowed: returns whether a later policy still allows it.
            abort: ends it.
            **facts: fields of both events.
        """
        flow = Flow(next(self._numbers), allowed, abort, self._count, partial(self._left, facts))
        self._active[flow.number] = flow
        self._events.emit("egress", verdict="allowed", flow=flow.number, **facts)
        return flow

    def _left(self, facts: dict[str, object], flow: Flow) -> None:
        del self._active[flow.number]
        self._events.emit(
            "egress-end",
            flow=flow.number,
            host=facts.get("host"),
            port=facts.get("port"),
            up=flow.up,
            down=flow.down,
            status=flow.status or None,
            seconds=round(time.monotonic() - flow.began, 3),
            error=flow.error or None,
        )

    def limit(self, most: int, spent: Callable[[], object]) -> None:
        """Call *spent*, once, when more than *most* bytes have passed in all, those so far included."""
        self._most, self._spent = most, spent
        self._count(0)

    def _count(self, size: int) -> None:
        self.passed += size
        if self._most is not None and self.passed > self._most:
            self._most = None
            asyncio.get_running_loop().call_soon(self._spent)  # not within the flow that it ends

    def enforce(self, policy: Policy) -> int:
        """End what *policy* does not allow; return how many."""
        ended = [flow for flow in [*self._active.values()] if not flow.allowed(policy)]
        for flow in ended:
            flow.end("policy-changed")
        return len(ended)

    def end_all(self, error: str) -> None:
        """End every flow."""
        for flow in [*self._active.values()]:
            flow.end(error)

    async def watch(self) -> None:
        """End idle and overlong flows, for ever."""
        limits = self._limits
        while True:
            await asyncio.sleep(min(5.0, limits.idle / 4))
            now = time.monotonic()
            for flow in [*self._active.values()]:
                if now - flow.touched > limits.idle:
                    flow.end("idle-timeout")
                elif limits.total and now - flow.began > limits.total:
                    flow.end("total-timeout")
