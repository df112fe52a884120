"""`%bottle cp`: copy a file or directory into a bottle or out of it, as `docker cp` does."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from bb_jupyter.backend.shared.archive import CopyReport
from bb_jupyter.core.session import current
from bb_jupyter.errors import UsageError
from bb_jupyter.manifest import about_size
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser
from bb_jupyter.notebook.views.display import say
from bb_jupyter.text.visible import one_line

#: Most names of each sort to show.
_SHOWN = 20
#: What `--with-git-config` takes.
_GIT = (".git", ".gitattributes")


def _arguments(parser: Parser) -> None:
    parser.add_argument("source", metavar="SRC", help="a path on this host, or NAME:PATH in a bottle")
    parser.add_argument(
        "target", metavar="DST", help="the other one of the two; SRC is copied into an existing directory"
    )
    parser.add_argument(
        "--take",
        metavar="PATTERN",
        action="append",
        default=[],
        help="take what is left out otherwise: out of a bottle, files that a program of this computer obeys,"
        " such as conftest.py; into a bottle, files that look like credentials; repeatable",
    )
    parser.add_argument("--with-git-config", action="store_true", help="the same for .git, its hooks included")


def _run(args: Namespace) -> None:
    source, target = _place(args.source), _place(args.target)
    if bool(source[0]) == bool(target[0]):
        raise UsageError(
            "%bottle cp: exactly one of SRC and DST must be in a bottle",
            hint="Write NAME:PATH for a path in a bottle, and ./PATH for a file whose name holds a colon.",
        )
    if source[0]:
        take = [*args.take, *(_GIT if args.with_git_config else ())]
        report = current().get(source[0]).cp_out(source[1], target[1], take=take, before=_before)
    else:
        report = current().get(target[0]).cp_in(source[1], target[1], take=args.take)
    _report(report, args)


def _place(text: str) -> tuple[str, str]:
    """Split `NAME:PATH`; the name is empty for a path of the host."""
    name, colon, path = text.partition(":")
    return (name, path) if colon and name and "/" not in name and name not in (".", "~") else ("", text)


def _before(report: CopyReport) -> None:
    if report.overwritten:
        say(f"overwrites: {_some(report.overwritten)}")


def _report(report: CopyReport, args: Namespace) -> None:
    entries = "1 entry" if report.files == 1 else f"{report.files} entries"
    say(f"copied {entries} ({about_size(report.size)}) from {one_line(args.source)} to {one_line(args.target)}")
    for line in report.history:
        say(f"  {one_line(line)}")
    for program, names in _by(report.left_out).items():
        say(f"  left out, because {program} of this computer would obey it: {_some(names)}")
    if rest := [name for name, program in report.left_out if program != "git"]:
        say(f"  --take {one_line(PurePosixPath(rest[0]).name)} takes it, once you have looked at it in the bottle")
    if report.named:
        say(f"  look before you run: {_some(report.named)}")
    for why, names in _by(report.refused).items():
        say(f"  refused, {one_line(why)}: {_some(names)}")
    if report.uncounted:
        say(f"  and {report.uncounted} more names")


def _by(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Group (name, reason) by reason."""
    groups: dict[str, list[str]] = {}
    for name, reason in pairs:
        groups.setdefault(reason, []).append(name)
    return groups


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(one_line, names[:_SHOWN]))
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


command = Command(
    "copy into a bottle or out of it; NAME:PATH is a path in a bottle",
    _run,
    "SRC DST [--take PATTERN]",
    _arguments,
    needs_session=True,
)
