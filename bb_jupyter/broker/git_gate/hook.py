"""The gate's two hooks, run by ``git receive-pack`` in the mirror: what git calls, and how they talk with the gate.

``pre-receive`` checks a push while its objects are in quarantine: refused, they are gone.  ``proc-receive`` hands an
accepted one to the human's queue instead of changing a ref, and reports it to the client as what it is: a new reference
below ``refs/held/``.  So the client exits with 0, its ``origin/…`` stays where upstream is, and it says in its own
words that the commits are held, not delivered.  See githooks(5), "proc-receive", and gitprotocol-pack(5), "Report
Status".

The gate is at the other end of an inherited socket; one JSON line goes there, one comes back.  Both hooks run on the
host with none of the bottle's files but git's objects.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from bb_jupyter.broker.git_gate.describe import describe
from bb_jupyter.broker.git_gate.environment import GitFailed
from bb_jupyter.broker.git_gate.findings import Finding, Scan, hidden
from bb_jupyter.broker.git_gate.incoming import Incoming
from bb_jupyter.broker.git_gate.push_rules import NOTHING, Rules, Update, judge
from bb_jupyter.broker.git_gate.secret_scan import Scanner
from bb_jupyter.errors import BottleError
from bb_jupyter.process.jsonl import encode

GATE_FD: Final = "BB_GATE_FD"
"""Variable with the number of the inherited socket."""

_MOST_NOTES: Final = 100
_MUCH: Final = 8 << 20
_TAKE_OUT: Final = "Take it out of every commit that you push (git commit --amend, git rebase), then push again."
_LESS: Final = "Push less at a time: fewer commits, fewer or smaller files."


class Gate:
    """The gate, as a hook talks to it."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=int(os.environ[GATE_FD]))
        self._answers = self._socket.makefile("rb")

    def ask(self, op: str, **fields: object) -> dict[str, Any]:
        """Send a question and return the answer.

        Raises:
            BottleError: the gate cannot do it.
        """
        self._socket.sendall(encode(op=op, **fields))
        answer = dict(json.loads(self._answers.readline()))
        if "failed" in answer:
            raise BottleError(answer["failed"])
        return answer


def say(*lines: str) -> None:
    """Tell the client: git puts ``remote:`` in front."""
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


@dataclass(frozen=True)
class Verdict:
    """What came of a check.

    Attributes:
        content: what a human will see; `None` when the push is refused.
        reasons: why it is.
        advice: what to do about it.
    """

    content: dict[str, Any] | None = None
    reasons: tuple[str, ...] = ()
    advice: str = ""


def pre_receive(gate: Gate, lines: IO[bytes]) -> int:
    """Check a push.

    Returns:
        0 when it may be held, 1 when it is refused.
    """
    task = gate.ask("begin")
    say(*task["notices"])
    updates = [Update.parse(line) for line in lines]
    verdict = check(updates, task)
    said = {"content": verdict.content, "reasons": verdict.reasons, "updates": [vars(update) for update in updates]}
    gate.ask("checked", **said, size=_arrived())
    if verdict.reasons:
        say("REFUSED: nothing of this push was kept, upstream has not changed.")
        say(*(f"  {line}" for line in verdict.reasons), *([verdict.advice] if verdict.advice else []))
    return 1 if verdict.reasons else 0


def _arrived() -> int:
    """Return how many bytes the push brought, whether it needs them or not; one that only deletes brings nothing."""
    quarantine = os.environ.get("GIT_QUARANTINE_PATH")
    return sum(file.stat().st_size for file in Path(quarantine).rglob("*") if file.is_file()) if quarantine else 0


def check(updates: list[Update], task: dict[str, Any]) -> Verdict:
    """Judge a push by the repository's rules, its size and its secrets.

    Args:
        updates: what it changes.
        task: the gate's answer to ``begin``.
    """
    folder = Path.cwd()
    rules = Rules(task["protected"], task["allow_force"], task["allow_delete"])
    if reasons := judge(updates, rules, task["refs"], folder):
        return Verdict(reasons=tuple(reasons))
    tips = [update.new for update in updates if update.new != NOTHING]
    try:
        incoming = Incoming.find(folder, tips, task["refs"].values(), task["max_push"])
        if incoming.size > _MUCH:
            say(f"Checking {incoming.size >> 20} MiB, this takes a moment.")
        scan = Scan(incoming, Scanner(task["secrets"]))
        scan.run(updates)
    except GitFailed as error:
        return Verdict(reasons=(f"this is more than can be checked ({error.message})",), advice=_LESS)
    except BottleError as error:
        return Verdict(reasons=(str(error),))
    if scan.refused:
        return Verdict(reasons=tuple(f"secret in {finding}" for finding in scan.refused), advice=_TAKE_OUT)
    if scan.pointers:
        say(f"{scan.pointers} of its files are Git LFS pointers: what they stand for is not pushed; tell your human.")
    content = describe(incoming, updates)
    shown = {file["path"] for file in content["files"]}
    notes = [*scan.unshown(), *scan.replaced(tips, shown), *hidden(scan.paths, shown), *scan.notes]
    if more := len(notes) - _MOST_NOTES:
        notes[_MOST_NOTES:] = [Finding(f"{more} more findings are not listed here", "", 0, "")] if more > 0 else []
    return Verdict({**content, "findings": [note.to_json() for note in notes]})


def proc_receive(gate: Gate, source: IO[bytes], sink: IO[bytes]) -> int:
    """Have a checked push held, and report so."""
    read_packets(source)
    write_packets(sink, [b"version=1\0"])
    updates = [Update.parse(line) for line in read_packets(source)]
    answer = gate.ask("hold", updates=[vars(update) for update in updates])
    say(*answer["lines"])
    report: list[bytes] = []
    for update in updates:
        name = update.name.encode()
        if answer["id"] is None:
            report.append(b"ng " + name + b" " + answer["error"].encode("utf-8", "replace"))
        else:
            held = f"refs/held/{answer['id']}/{update.name.removeprefix('refs/')}".encode()
            old = update.old if update.kind == "delete" else NOTHING
            report += [b"ok " + name, b"option refname " + held]
            report += [b"option old-oid " + old.encode(), b"option new-oid " + update.new.encode()]
    write_packets(sink, report)
    return 0


def read_packets(source: IO[bytes]) -> list[bytes]:
    """Read packets up to a flush (gitprotocol-common(5), "pkt-line")."""
    found = []
    while (size := int(source.read(4) or b"0000", 16)) > 0:
        found.append(source.read(size - 4).rstrip(b"\n"))
    return found


def write_packets(sink: IO[bytes], packets: list[bytes]) -> None:
    """Write packets and a flush."""
    sink.write(b"".join(b"%04x%s" % (len(packet) + 4, packet) for packet in packets) + b"0000")
    sink.flush()


def main(hook: str) -> int:
    """Run one hook; whatever goes wrong refuses the push."""
    try:
        gate = Gate()
        if hook == "pre-receive":
            return pre_receive(gate, sys.stdin.buffer)
        return proc_receive(gate, sys.stdin.buffer, sys.stdout.buffer)
    except BaseException as error:
        why = str(error) if isinstance(error, BottleError) else type(error).__name__
        say(f"REFUSED: the git gate could not check this push ({why}); nothing was kept")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
