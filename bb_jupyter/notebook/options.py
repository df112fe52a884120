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
The body of the cell is a script.  `bash -e` runs it, or `sh -e` in a bottle without bash.
With --agent, --resume or --new the body is a prompt for the bottle's agent.  The agent continues
its conversation if it has one.  A cell without a body only launches the bottle.
A cell that names a running bottle runs in that bottle.  Its --env, --cwd and --user apply to that
cell; in the cell that launches the bottle they apply to all cells.
{name} in the value of an option stands for the notebook's variable of that name.

examples:
  %%bottle demo
  %%bottle demo --copy src --env LANG=C.UTF-8 --timeout 5m   # copies a directory in
  %%bottle demo --bg --out run
  %%bottle fix --agent claude --copy src --out r             # the body is a prompt
"""


def cell_parser() -> Parser:
    """Return the parser of the line of `%%bottle`."""
    parser = Parser(
        "%%bottle",
        "NAME [options]",
        "Run the cell in the bottle NAME; launch the bottle if it is not running.",
        _EXAMPLES,
    )
    add_launch_options(parser)
    cell = parser.add_argument_group("this cell")
    cell.add_argument(
        "-t", "--timeout", default="", metavar="TIME", help="kill the script after TIME: 90 (seconds), 5m, 1h30m"
    )
    cell.add_argument(
        "--bg", action="store_true", help="run in the background; the output still appears under this cell"
    )
    cell.add_argument(
        "--out", default="", metavar="VAR", help="store the result in VAR (with --bg: a handle to wait for)"
    )
    cell.add_argument("--resume", action="store_true", help="the body is a prompt that continues the conversation")
    cell.add_argument("--new", action="store_true", help="the body is a prompt that starts a new conversation")
    cell.add_argument("--fresh", action="store_true", help="first stop the running bottle of that name")
    cell.add_argument("--rm", action="store_true", help="stop the bottle when the script has ended")
    cell.add_argument("--no-raise-error", action="store_true", help="the cell succeeds even if the script fails")
    return parser


def add_launch_options(parser: Parser) -> None:
    """Add NAME and the options of a launch."""
    parser.add_argument("name", metavar="NAME", help="name of the bottle: a-z, 0-9 and -, at most 40 characters")
    launch = parser.add_argument_group("launch")
    for options, metavar, text in _LAUNCH:
        repeatable = options[-1] in _REPEATABLE
        action, default = ("append", []) if repeatable else ("store", "")
        launch.add_argument(*options, action=action, default=default, metavar=metavar, help=text)
    launch.add_argument(
        "--keep", action="store_true", help="the bottle keeps running when this kernel ends; see `%%bottle attach`"
    )


_LAUNCH = [
    (("-a", "--agent"), "AGENT", "the agent; the body of the cell is its prompt"),
    (("-b", "--bottle"), "BOTTLE", "the bottle manifest"),
    (("--backend",), "BACKEND", "where the bottle runs; `%%bottle doctor` lists the backends"),
    (("--image",), "IMAGE", "image to run, on backends with images"),
    (("--allow",), "HOST", "host that the bottle may reach through its gateway; repeatable"),
    (("-e", "--env"), "K[=V]", "environment variable; without V its value is this kernel's; repeatable"),
    (("--copy",), "SRC[:DST]", "copy a file or directory into the bottle; repeatable"),
    (("--copy-secret",), "PATTERN", "copy in matching files although they look like credentials; repeatable"),
    (("--cwd",), "DIR", "working directory, relative to the agent's home"),
    (("--user",), "USER", "user who runs the commands in the bottle"),
    (("--memory",), "SIZE", "memory limit, such as 512m or 4g"),
    (("--cpus",), "N", "limit of CPUs, such as 1.5"),
    (("--pids",), "N", "limit of processes and threads"),
]
_REPEATABLE = {"--allow", "--env", "--copy", "--copy-secret"}


def launch_options(args: Namespace) -> LaunchOptions:
    """Return the launch options that `add_launch_options` declared.

    Raises:
        UsageError: a value is not allowed.
    """
    return LaunchOptions(
        agent=args.agent,
        bottle=args.bottle,
        backend=args.backend,
        image=args.image,
        allow=tuple(args.allow),
        env=environment(args.env),
        copy=tuple(args.copy),
        copy_secret=tuple(args.copy_secret),
        cwd=args.cwd,
        user=args.user,
        limits=limits_of(memory=args.memory, cpus=args.cpus, pids=args.pids),
        keep=args.keep,
    )


def environment(pairs: Iterable[str]) -> dict[str, str]:
    """Return the variables of `--env`; one without a value takes it from this kernel.

    Raises:
        UsageError: this kernel has no such variable.
    """
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals and name not in os.environ:
            raise UsageError(
                f"--env {name}: this kernel has no environment variable {name}", hint=f"Write --env {name}=VALUE."
            )
        found[name] = value if equals else os.environ[name]
    return found


def duration(text: str) -> float | None:
    """Return the seconds of `--timeout`; `None` when it is not given.

    Raises:
        UsageError: it is not a duration.
    """
    return converted("--timeout", text, parse_duration)


def converted(option: str, text: str, convert: Callable[[str], T]) -> T | None:
    """Return the value of an option, converted; `None` when it is empty.

    Raises:
        UsageError: *convert* raised a `ValueError`.
    """
    try:
        return convert(text) if text else None
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
