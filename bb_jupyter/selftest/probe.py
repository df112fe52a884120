"""What every check works with: connections tried from inside the bottle, the `Probe`, and the result of a check.

A connection is tried by a small Python program in the bottle, or by its shell where there is no Python.
"""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from bb_jupyter.errors import BottleGone
from bb_jupyter.gateway import PORTS
from bb_jupyter.text.visible import last_line

if TYPE_CHECKING:
    from bb_jupyter.backend.execution import Completed
    from bb_jupyter.core.bottle_handle import BottleHandle
    from bb_jupyter.selftest.canary import Canary

#: Seconds within which a denial must arrive.
IMMEDIATE: Final = 3.0
#: Seconds that a program in the bottle may take to start, beside its attempts.
_START: Final = 20.0
_NO_TOOL: Final = 127
NO_PYTHON: Final = "the image has no python3"
# nc closes the connection when its input ends, so the input is kept open.
_WITHOUT_PYTHON = """
if command -v bash >/dev/null 2>&1; then
  exec bash -c 'exec 3<>"/dev/tcp/$0/$1" || exit 1; cat >&3; cat <&3' "$1" "$2"
fi
command -v nc >/dev/null 2>&1 || exit 127
folder=$(mktemp -d -p "$HOME") && mkfifo "$folder/in" && exec 3<>"$folder/in" && rm -r "$folder" || exit 127
cat >&3
exec nc -w 3 "$1" "$2" <&3
"""
_STATUS = re.compile(rb"HTTP/\d\.\d (\d{3}) ")
_RULE = re.compile(rb"\r\nX-Bottle-Denied: ([a-z-]+)", re.IGNORECASE)

AttemptKind = Literal["tcp", "udp", "icmp", "unix", "vsock", "packet", "name"]
#: Seconds that a shell script of a check may take.
_SCRIPT: Final = 60.0


@dataclass(frozen=True)
class PromiseResult:
    """Whether a bottle keeps one promise.

    Attributes:
        promise: the promise, such as `P1.raw-sockets`.
        ok: whether the promise holds; `None` when it could not be tried.
        detail: what was tried, what broke, or why nothing could be tried.
    """

    promise: str
    ok: bool | None
    detail: str

    @property
    def word(self) -> str:
        """The result as a word: `ok`, `BROKEN` or `not run`."""
        return "not run" if self.ok is None else "ok" if self.ok else "BROKEN"

    def __str__(self) -> str:
        return f"{self.promise}: {self.word}: {self.detail}"


class Broken(Exception):
    """The promise does not hold; the message is what happened."""


class NotRun(Exception):
    """The promise cannot be tried in this bottle; the message is the reason."""


@dataclass(frozen=True)
class Attempt:
    """A connection to try.

    Attributes:
        kind: the kind of socket; `name` only resolves, `unix` is an abstract socket, `packet` a raw one on the link.
        address: IP address, host name, or name of the abstract socket.
        port: port, for kinds that have one.
        say: messages to send one after another; each is followed by a wait for an answer.
        limit: seconds for each wait.
    """

    kind: AttemptKind
    address: str
    port: int = 0
    say: tuple[bytes, ...] = ()
    limit: float = IMMEDIATE

    def __str__(self) -> str:
        return f"{self.kind} {self.address}" + (f":{self.port}" if self.port else "")


@dataclass(frozen=True)
class AttemptResult:
    """The result of an attempt.

    Attributes:
        attempt: the attempt.
        error: symbolic errno such as `ECONNREFUSED`, `timeout`, or another word; empty when nothing failed.
        answers: the answers, one for each message sent.
        seconds: duration.
        not_tried: why the attempt was not made; empty when it was.
    """

    attempt: Attempt
    error: str = ""
    answers: tuple[bytes, ...] = ()
    seconds: float = 0.0
    not_tried: str = ""

    @property
    def status(self) -> int:
        """HTTP status of the last answer; 0 when it has none."""
        found = _STATUS.match(self.answers[-1]) if self.answers else None
        return int(found[1]) if found else 0

    @property
    def rule(self) -> str:
        """The rule that the gateway named as it refused the last request; empty for none."""
        found = _RULE.search(self.answers[-1].partition(b"\r\n\r\n")[0]) if self.answers else None
        return found[1].decode() if found else ""


def dial(handle: BottleHandle, attempts: Sequence[Attempt]) -> list[AttemptResult]:
    """Try connections from inside the bottle, one after another.

    Raises:
        NotRun: the bottle's image has no program that could make connections.
        BottleGone: the bottle died.
    """
    if python := _python(handle):
        return _by_python(handle, python, attempts)
    return [_by_shell(handle, attempt) for attempt in attempts]


def _python(handle: BottleHandle) -> str:
    found = handle.exec(["sh", "-c", "command -v python3"], timeout=_START).wait()
    return found.stdout.decode("utf-8", "replace").strip() if found.returncode == 0 else ""


def _by_python(handle: BottleHandle, python: str, attempts: Sequence[Attempt]) -> list[AttemptResult]:
    wanted = json.dumps([_as_json(attempt) for attempt in attempts])
    limit = _START + sum(attempt.limit * (1 + len(attempt.say)) for attempt in attempts)
    done = handle.exec([python, "-I", "-S", "-", wanted], stdin=_program(), timeout=limit).wait()
    try:
        found = json.loads(done.stdout)
        return [_result(attempt, answer) for attempt, answer in zip(attempts, found, strict=True)]
    except (ValueError, KeyError, TypeError):
        raise NotRun(f"the probe did not run in the bottle: {last_line(done.stderr, 'no output')}") from None


def _as_json(attempt: Attempt) -> dict[str, object]:
    return {**attempt.__dict__, "say": [base64.b64encode(words).decode() for words in attempt.say]}


def _result(attempt: Attempt, answer: dict[str, object]) -> AttemptResult:
    texts = answer["answers"]
    answers = tuple(base64.b64decode(str(text)) for text in texts) if isinstance(texts, list) else ()
    return AttemptResult(attempt, str(answer["error"]), answers, float(str(answer["seconds"])))


def _by_shell(handle: BottleHandle, attempt: Attempt) -> AttemptResult:
    if attempt.kind != "tcp" or len(attempt.say) != 1:
        return AttemptResult(attempt, not_tried=NO_PYTHON)
    argv = ["sh", "-c", _WITHOUT_PYTHON, "sh", attempt.address, str(attempt.port)]
    done = handle.exec(argv, stdin=attempt.say[0], timeout=attempt.limit).wait()
    if done.returncode == _NO_TOOL:
        raise NotRun("the image has neither python3, bash nor nc")
    answers = (done.stdout,) if done.stdout else ()
    error = "timeout" if done.timed_out and not answers else "" if answers else f"status {done.returncode}"
    return AttemptResult(attempt, error, answers, 0.0 if answers else done.duration)


@cache
def _program() -> bytes:
    return Path(__file__).with_name("dialer.py").read_bytes()


class Probe:
    """A running bottle under test.  Neither its files nor its policy are changed.

    Args:
        handle: the bottle.
        canary: the servers on this host that record who connects.
    """

    def __init__(self, handle: BottleHandle, canary: Canary) -> None:
        self.handle, self.canary = handle, canary

    @property
    def has_gateway(self) -> bool:
        """Whether the bottle has a gateway; without one it has no network."""
        return self.handle.bottle.network.state == "open"

    @property
    def hello(self) -> bytes:
        """A request with the canary's token."""
        return f"GET /{self.canary.token} HTTP/1.0\r\n\r\n".encode()

    def sh(self, script: str, *arguments: str, stdin: bytes | None = None) -> Completed:
        """Run a shell script in the bottle."""
        return self.handle.exec(["sh", "-c", script, "sh", *arguments], stdin=stdin, timeout=_SCRIPT).wait()

    def text(self, script: str, *arguments: str) -> str:
        """Return what a shell script in the bottle prints."""
        return self.sh(script, *arguments).stdout.decode("utf-8", "replace")

    def dial(self, attempts: Sequence[Attempt]) -> list[AttemptResult]:
        """Try connections from inside; see `dial.dial`."""
        return dial(self.handle, attempts)

    def proxied(self, *requests: bytes) -> Attempt:
        """Return the attempt to send requests, one after another on one connection, to the gateway's proxy."""
        return Attempt("tcp", "egress", PORTS["egress"], requests)

    def blocked(self, attempts: Sequence[Attempt]) -> str:
        """Make attempts that must fail because there is no route.

        Returns:
            A description of what was tried.

        Raises:
            Broken: something answered, hung, or reached the canary.
            NotRun: the image has no program that could make connections.
        """
        results, note = self._tried(attempts)
        for result in results:
            if result.answers or not result.error:
                raise Broken(f"{result.attempt} answered: {b''.join(result.answers)[:80]!r}")
        self._judge_time_and_canary(results)
        kinds = ", ".join(dict.fromkeys(f"{result.attempt.kind}: {result.error}" for result in results))
        return f"{len(results)} attempts, nothing arrived ({kinds}){note}"

    def denied(self, requests: Iterable[bytes | tuple[bytes, ...]], rules: Collection[str]) -> str:
        """Send requests that the gateway must refuse; without a gateway, nothing may answer.

        Args:
            requests: raw requests, each on a connection of its own; of a tuple, the last one must be refused.
            rules: the refusal must name one of these rules; `""` is among them where the HTTP parser may refuse first
                (400); with none, any rule will do.

        Returns:
            A description of what was tried.

        Raises:
            Broken: a request was not refused at once by one of the rules, or it reached the canary.
            NotRun: the image has no program that could make connections.
        """
        attempts = [self.proxied(*((words,) if isinstance(words, bytes) else words)) for words in requests]
        if not self.has_gateway:
            return self.blocked(attempts)
        results, note = self._tried(attempts)
        for result in results:
            unnamed = result.status != 400 and not result.rule
            if result.status not in (400, 403) or unnamed or (rules and result.rule not in rules):
                wanted = " or ".join(rules) or "any rule"
                raise Broken(f"{_request_line(result)}: {_answer_line(result)}, not a denial by {wanted}")
        self._judge_time_and_canary(results)
        named = ", ".join(dict.fromkeys(result.rule or str(result.status) for result in results))
        return f"{len(results)} requests refused ({named}), nothing arrived{note}"

    def _tried(self, attempts: Sequence[Attempt]) -> tuple[list[AttemptResult], str]:
        """Make attempts; return the results of those that could be made, and a note about the others."""
        results = self.dial(attempts)
        tried = [result for result in results if not result.not_tried]
        if not tried:
            raise NotRun(results[0].not_tried)
        left = len(results) - len(tried)
        return tried, f"; {left} not tried: {NO_PYTHON}" if left else ""

    def _judge_time_and_canary(self, results: Sequence[AttemptResult]) -> None:
        for result in results:
            if result.error == "timeout" or result.seconds >= IMMEDIATE:
                raise Broken(f"{result.attempt}: no denial within {IMMEDIATE:g} s ({result.seconds:.1f} s)")
        if arrivals := self.canary.heard():
            raise Broken(f"it arrived outside: {arrivals[0]}")


def _request_line(result: AttemptResult) -> str:
    return repr(result.attempt.say[-1].partition(b"\r\n")[0].decode("latin-1"))


def _answer_line(result: AttemptResult) -> str:
    if not result.answers:
        return result.error or "no answer"
    return repr(result.answers[-1].partition(b"\r\n")[0].decode("latin-1")) + f" rule {result.rule or 'none'}"


PromiseCheck = Callable[[Probe], PromiseResult]


def promise(number: str) -> Callable[[Callable[[Probe], str]], PromiseCheck]:
    """Turn a function into a check: it returns the detail of an `ok`, or raises `Broken` or `NotRun`.

    Args:
        number: number of the promise, such as `P1`; the function's name completes it.
    """

    def wrap(function: Callable[[Probe], str]) -> PromiseCheck:
        name = f"{number}.{function.__name__.replace('_', '-')}"

        @functools.wraps(function)
        def run(probe: Probe) -> PromiseResult:
            try:
                return PromiseResult(name, True, function(probe))
            except Broken as broken:
                return PromiseResult(name, False, str(broken))
            except NotRun as not_run:
                return PromiseResult(name, None, str(not_run))
            except BottleGone as gone:
                return PromiseResult(name, False, f"the bottle did not survive it: {gone.message}")

        return run

    return wrap
