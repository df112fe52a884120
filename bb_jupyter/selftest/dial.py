"""Connections tried from inside a bottle: by a small Python program, or where there is no Python by the shell."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from bb_jupyter.selftest.verdict import NotRun

if TYPE_CHECKING:
    from bb_jupyter.core.bottle_handle import BottleHandle

#: Seconds within which a denial must have come.
IMMEDIATE: Final = 3.0
#: Seconds that a program in the bottle gets to start, beside its attempts.
_START: Final = 20.0
_NO_TOOL: Final = 127
NO_PYTHON: Final = "the image has no python3"
# nc hangs up when its input ends, which a server takes for the end of the whole talk: so it must not end.
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

Kind = Literal["tcp", "udp", "icmp", "unix", "vsock", "packet", "name"]


@dataclass(frozen=True)
class Attempt:
    """A connection to try.

    Attributes:
        kind: how: `name` only resolves, `unix` is an abstract socket, `packet` is a raw one on the wire.
        address: IP address, name, or the abstract socket's name.
        port: where the kind has one.
        say: what to send, one after another; after each, an answer is waited for.
        limit: seconds that each wait may take.
    """

    kind: Kind
    address: str
    port: int = 0
    say: tuple[bytes, ...] = ()
    limit: float = IMMEDIATE

    def __str__(self) -> str:
        return f"{self.kind} {self.address}" + (f":{self.port}" if self.port else "")


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt.

    Attributes:
        attempt: what was tried.
        error: symbolic errno such as `ECONNREFUSED`, `timeout`, or another word; empty when all went through.
        answers: what was answered, one for each thing said.
        seconds: how long it took.
        not_tried: why it was not even tried; empty when it was.
    """

    attempt: Attempt
    error: str = ""
    answers: tuple[bytes, ...] = ()
    seconds: float = 0.0
    not_tried: str = ""

    @property
    def status(self) -> int:
        """HTTP status of the last answer; 0 when that is none."""
        found = _STATUS.match(self.answers[-1]) if self.answers else None
        return int(found[1]) if found else 0

    @property
    def rule(self) -> str:
        """The rule by which the gateway refused the last request; empty when it named none."""
        found = _RULE.search(self.answers[-1].partition(b"\r\n\r\n")[0]) if self.answers else None
        return found[1].decode() if found else ""


def dial(handle: BottleHandle, attempts: Sequence[Attempt]) -> list[Outcome]:
    """Try connections from inside the bottle, one after another.

    Raises:
        NotRun: the bottle's image has nothing to try them with.
        BottleGone: the bottle died.
    """
    if python := _python(handle):
        return _by_python(handle, python, attempts)
    return [_by_shell(handle, attempt) for attempt in attempts]


def _python(handle: BottleHandle) -> str:
    found = handle.exec(["sh", "-c", "command -v python3"], timeout=_START).wait()
    return found.stdout.decode("utf-8", "replace").strip() if found.returncode == 0 else ""


def _by_python(handle: BottleHandle, python: str, attempts: Sequence[Attempt]) -> list[Outcome]:
    told = json.dumps([_as_json(attempt) for attempt in attempts])
    limit = _START + sum(attempt.limit * (1 + len(attempt.say)) for attempt in attempts)
    done = handle.exec([python, "-I", "-S", "-", told], stdin=_program(), timeout=limit).wait()
    try:
        found = json.loads(done.stdout)
        return [_outcome(attempt, answer) for attempt, answer in zip(attempts, found, strict=True)]
    except (ValueError, KeyError, TypeError):
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise NotRun(f"the probe did not run in the bottle: {last[0] if last else 'no output'}") from None


def _as_json(attempt: Attempt) -> dict[str, object]:
    return {**attempt.__dict__, "say": [base64.b64encode(words).decode() for words in attempt.say]}


def _outcome(attempt: Attempt, answer: dict[str, object]) -> Outcome:
    texts = answer["answers"]
    answers = tuple(base64.b64decode(str(text)) for text in texts) if isinstance(texts, list) else ()
    return Outcome(attempt, str(answer["error"]), answers, float(str(answer["seconds"])))


def _by_shell(handle: BottleHandle, attempt: Attempt) -> Outcome:
    if attempt.kind != "tcp" or len(attempt.say) != 1:
        return Outcome(attempt, not_tried=NO_PYTHON)
    argv = ["sh", "-c", _WITHOUT_PYTHON, "sh", attempt.address, str(attempt.port)]
    done = handle.exec(argv, stdin=attempt.say[0], timeout=attempt.limit).wait()
    if done.returncode == _NO_TOOL:
        raise NotRun("the image has neither python3, bash nor nc")
    answers = (done.stdout,) if done.stdout else ()
    error = "timeout" if done.timed_out and not answers else "" if answers else f"status {done.returncode}"
    return Outcome(attempt, error, answers, 0.0 if answers else done.duration)


@cache
def _program() -> bytes:
    return Path(__file__).with_name("guest.py").read_bytes()
