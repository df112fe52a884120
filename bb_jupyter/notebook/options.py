"""The options that launch a bottle and run a cell in it, for `%%bottle` and `%bottle plan`."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Iterable
from typing import TypeVar

from bb_jupyter.api import limits_of
from bb_jupyter.core.launch_options import LaunchOptions
from bb_jupyter.errors import UsageError
from bb_jupyter.manifest import parse_duration
from bb_jupyter.notebook.parser import Parser

T = TypeVar("T")

_EXAMPLES = """\
The lines below the magic are a script for `bash -e` where the bottle has bash, else for `sh -e`;
with --agent, --resume or --new they are a prompt for the bottle's agent, which goes on with its
conversation if there is one.  Without any lines the bottle is only launched.
A cell with the name of a running bottle runs in it; --env, --cwd and --user then hold for that
cell, while the cell that launches sets them for all.
{name} in the value of an option is the notebook's variable of that name.

examples:
  %%bottle demo
  %%bottle demo --copy src --env LANG=C.UTF-8 --timeout 5m   # launch with files
  %%bottle demo --bg --out run
  %%bottle fix --agent claude --copy src --out r             # the body is a prompt
"""


def cell_parser() -> Parser:
    """Return the parser of the line of `%%bottle`."""
    parser = Parser(
        "%%bottle", "NAME [options]", "Run the cell in the bottle NAME; launch it first if need be.", _EXAMPLES
    )
    add_launch_options(parser)
    cell = parser.add_argument_group("this cell")
    cell.add_argument(
        "-t", "--timeout", default="", metavar="TIME", help="kill the script after TIME, such as 90, 5m, 1h30m"
    )
    cell.add_argument("--bg", action="store_true", help="run in the background; output still lands under this cell")
    cell.add_argument(
        "--out", default="", metavar="VAR", help="store the result in VAR (with --bg: a handle to wait for)"
    )
    cell.add_argument("--resume", action="store_true", help="the body is a prompt that goes on with the conversation")
    cell.add_argument("--new", action="store_true", help="the body is a prompt that begins a new conversation")
    cell.add_argument("--fresh", action="store_true", help="stop a running bottle of that name first")
    cell.add_argument("--rm", action="store_true", help="stop the bottle after the script")
    cell.add_argument("--no-raise-error", action="store_true", help="let the cell succeed when the script fails")
    return parser


def add_launch_options(parser: Parser) -> None:
    """Add NAME and what decides how a bottle is launched."""
    parser.add_argument("name", metavar="NAME", help="name of the bottle: a-z, 0-9 and -")
    launch = parser.add_argument_group("launch")
    for options, metavar, text in _LAUNCH:
        repeatable = options[-1] in _REPEATABLE
        action, default = ("append", []) if repeatable else ("store", "")
        launch.add_argument(*options, action=action, default=default, metavar=metavar, help=text)
    launch.add_argument("--keep", action="store_true", help="the bottle outlives this kernel (see `%%bottle attach`)")


_LAUNCH = [
    (("-a", "--agent"), "AGENT", "agent manifest; the cell's body is its prompt"),
    (("-b", "--bottle"), "BOTTLE", "bottle manifest"),
    (("--backend",), "BACKEND", "where it runs: docker, bubblewrap or smolmachines"),
    (("--image",), "IMAGE", "image to run (docker, smolmachines)"),
    (("--allow",), "HOST", "let the bottle reach HOST through its gateway; repeatable"),
    (("-e", "--env"), "K[=V]", "variable; without a value that of this kernel; repeatable"),
    (("--copy",), "SRC[:DST]", "copy a file or directory in; repeatable"),
    (("--cwd",), "DIR", "working directory, relative to the home in the bottle"),
    (("--user",), "USER", "user in the bottle"),
    (("--memory",), "SIZE", "limit of memory, such as 512m or 4g"),
    (("--cpus",), "N", "limit of processors, such as 1.5"),
    (("--pids",), "N", "limit of processes and threads"),
]
_REPEATABLE = {"--allow", "--env", "--copy"}


def launch_options(args: Namespace) -> LaunchOptions:
    """Return what `add_launch_options` parsed.

    Raises:
        UsageError: a value cannot be right.
    """
    return LaunchOptions(
        agent=args.agent,
        bottle=args.bottle,
        backend=args.backend,
        image=args.image,
        allow=tuple(args.allow),
        env=environment(args.env),
        copy=tuple(args.copy),
        cwd=args.cwd,
        user=args.user,
        limits=limits_of(memory=args.memory, cpus=args.cpus, pids=args.pids),
        keep=args.keep,
    )


def environment(pairs: Iterable[str]) -> dict[str, str]:
    """Return the variables of `--env`; one without a value has that of this kernel.

    Raises:
        UsageError: this kernel has no such variable.
    """
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals and name not in os.environ:
            raise UsageError(f"--env {name}: this kernel has no such variable", hint=f"Write --env {name}=VALUE.")
        found[name] = value if equals else os.environ[name]
    return found


def duration(text: str) -> float | None:
    """Return the seconds of `--timeout`; `None` when it is not given.

    Raises:
        UsageError: it is not a duration.
    """
    return converted("--timeout", text, parse_duration)


def converted(option: str, text: str, convert: Callable[[str], T]) -> T | None:
    """Return *text* converted; `None` when it is empty.

    Raises:
        UsageError: *convert* raised a `ValueError`.
    """
    try:
        return convert(text) if text else None
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
