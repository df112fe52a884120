"""What every check works with: the bottle, the canary, and the ways to judge what came of an attempt."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from bb_jupyter.gateway import PORTS
from bb_jupyter.selftest.dial import IMMEDIATE, NO_PYTHON, Attempt, Outcome, dial
from bb_jupyter.selftest.verdict import Broken, NotRun

if TYPE_CHECKING:
    from bb_jupyter.backend.execution import Completed
    from bb_jupyter.core.bottle_handle import BottleHandle
    from bb_jupyter.selftest.canary import Canary

#: Seconds that a shell script of a check may take.
_SCRIPT: Final = 60.0


class Probe:
    """One running bottle under test.

    Args:
        held: the bottle; nothing in it, and nothing of its policy, is changed.
        canary: the oracle.
    """

    def __init__(self, handle: BottleHandle, canary: Canary) -> None:
        self.handle, self.canary = handle, canary

    @property
    def has_gateway(self) -> bool:
        """Whether a gateway answers in the bottle; if not, it has no network."""
        return self.handle.bottle.network.state == "open"

    @property
    def hello(self) -> bytes:
        """A request that the canary knows."""
        return f"GET /{self.canary.token} HTTP/1.0\r\n\r\n".encode()

    def sh(self, script: str, *arguments: str, stdin: bytes | None = None) -> Completed:
        """Run a shell script in the bottle."""
        return self.handle.exec(["sh", "-c", script, "sh", *arguments], stdin=stdin, timeout=_SCRIPT).wait()

    def text(self, script: str, *arguments: str) -> str:
        """Return what a shell script in the bottle prints."""
        return self.sh(script, *arguments).stdout.decode("utf-8", "replace")

    def dial(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        """Try connections from inside; see `dial.dial`."""
        return dial(self.handle, attempts)

    def proxied(self, *requests: bytes) -> Attempt:
        """Return the attempt to send requests, one after another on one connection, to the gateway's proxy."""
        return Attempt("tcp", "egress", PORTS["egress"], requests)

    def blocked(self, attempts: Sequence[Attempt]) -> str:
        """Try what must be impossible for want of any way.

        Returns:
            What was tried, in words.

        Raises:
            Broken: something answered, hung, or came to the canary.
            NotRun: the image has nothing to try it with.
        """
        outcomes, note = self._tried(attempts)
        for outcome in outcomes:
            if outcome.answers or not outcome.error:
                raise Broken(f"{outcome.attempt} answered: {b''.join(outcome.answers)[:80]!r}")
        self._judge_time_and_canary(outcomes)
        kinds = ", ".join(dict.fromkeys(f"{outcome.attempt.kind}: {outcome.error}" for outcome in outcomes))
        return f"{len(outcomes)} attempts, nothing arrived ({kinds}){note}"

    def denied(self, requests: Iterable[bytes | tuple[bytes, ...]], rules: Collection[str]) -> str:
        """Ask the gateway for what it must refuse; where there is none, nothing may answer.

        Args:
            requests: raw requests, each on a connection of its own; the last of a tuple is the one to be refused.
            rules: names of the rules one of which must be given, `""` among them where the HTTP parser may refuse first
                (400); empty takes any rule.

        Returns:
            What was tried, in words.

        Raises:
            Broken: one was not refused, not at once, by no or another rule, or it came to the canary.
            NotRun: the image has nothing to try it with.
        """
        attempts = [self.proxied(*((words,) if isinstance(words, bytes) else words)) for words in requests]
        if not self.has_gateway:
            return self.blocked(attempts)
        outcomes, note = self._tried(attempts)
        for outcome in outcomes:
            unnamed = outcome.status != 400 and not outcome.rule
            if outcome.status not in (400, 403) or unnamed or (rules and outcome.rule not in rules):
                raise Broken(f"{_said(outcome)}: {_shown(outcome)}, not a denial by {' or '.join(rules) or 'any rule'}")
        self._judge_time_and_canary(outcomes)
        named = ", ".join(dict.fromkeys(outcome.rule or str(outcome.status) for outcome in outcomes))
        return f"{len(outcomes)} requests refused ({named}), nothing arrived{note}"

    def _tried(self, attempts: Sequence[Attempt]) -> tuple[list[Outcome], str]:
        """Try connections; return what came of those that could be tried, and a note about the others."""
        outcomes = self.dial(attempts)
        tried = [outcome for outcome in outcomes if not outcome.not_tried]
        if not tried:
            raise NotRun(outcomes[0].not_tried)
        left = len(outcomes) - len(tried)
        return tried, f"; {left} not tried: {NO_PYTHON}" if left else ""

    def _judge_time_and_canary(self, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if outcome.error == "timeout" or outcome.seconds >= IMMEDIATE:
                raise Broken(f"{outcome.attempt}: no denial within {IMMEDIATE:g} s ({outcome.seconds:.1f} s)")
        if came := self.canary.heard():
            raise Broken(f"it arrived outside: {came[0]}")


def _said(outcome: Outcome) -> str:
    return repr(outcome.attempt.say[-1].partition(b"\r\n")[0].decode("latin-1"))


def _shown(outcome: Outcome) -> str:
    if not outcome.answers:
        return outcome.error or "no answer"
    return repr(outcome.answers[-1].partition(b"\r\n")[0].decode("latin-1")) + f" rule {outcome.rule or 'none'}"
