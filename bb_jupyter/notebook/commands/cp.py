"""`%bottle cp`: copy a file or directory into a bottle or out of it, as `docker cp` does."""

from __future__ import annotations

from argparse import Namespace

from bb_jupyter.backend.shared.archive import CopyReport
from bb_jupyter.core.session import current
from bb_jupyter.errors import UsageError
from bb_jupyter.manifest import about_size
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser
from bb_jupyter.notebook.views.display import say
from bb_jupyter.text.visible import one_line

#: Most refused names to show.
_SHOWN = 20


def _arguments(parser: Parser) -> None:
    parser.add_argument("source", metavar="SRC", help="a path on this host, or NAME:PATH in a bottle")
    parser.add_argument(
        "target", metavar="DST", help="the other one of the two; SRC is copied into an existing directory"
    )


def _run(args: Namespace) -> None:
    source, target = _place(args.source), _place(args.target)
    if bool(source[0]) == bool(target[0]):
        raise UsageError(
            "%bottle cp: exactly one of SRC and DST must be in a bottle",
            hint="Write NAME:PATH for a path in a bottle, and ./PATH for a file whose name holds a colon.",
        )
    if source[0]:
        report = current().get(source[0]).cp_out(source[1], target[1])
    else:
        report = current().get(target[0]).cp_in(source[1], target[1])
    _report(report, args)


def _place(text: str) -> tuple[str, str]:
    """Split `NAME:PATH`; the name is empty for a path of the host."""
    name, colon, path = text.partition(":")
    return (name, path) if colon and name and "/" not in name and name not in (".", "~") else ("", text)


def _report(report: CopyReport, args: Namespace) -> None:
    entries = "1 entry" if report.files == 1 else f"{report.files} entries"
    say(f"copied {entries} ({about_size(report.size)}) from {one_line(args.source)} to {one_line(args.target)}")
    for name, why in report.refused[:_SHOWN]:
        say(f"  refused {one_line(name)}: {one_line(why)}")
    if len(report.refused) > _SHOWN:
        say(f"  and {len(report.refused) - _SHOWN} more refused")


command = Command(
    "copy into a bottle or out of it; NAME:PATH is a path in a bottle", _run, "SRC DST", _arguments, needs_session=True
)
