"""The sub-commands of `%bottle`.  Each module here is one: it has the name of its file, and defines `command`."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module

from bb_jupyter.errors import UsageError, did_you_mean
from bb_jupyter.notebook.commands.command import Command
from bb_jupyter.notebook.parser import Parser
from bb_jupyter.notebook.views.display import say


def run(words: Sequence[str], names: Mapping[str, object], prog: str = "%bottle") -> None:
    """Run a sub-command.

    Args:
        words: its name and arguments; without any, the sub-commands are listed.
        names: the user's variables, for `{name}` in values.
        prog: the program: `%bottle`, or `bb-jupyter` in a terminal.

    Raises:
        UsageError: there is no such sub-command, or its arguments are wrong.
        HelpWanted: the arguments ask for help.
        BottleError: the sub-command failed.
    """
    if not words or words[0] in ("-h", "--help", "help"):
        say(overview(prog))
        return
    known = _offered(prog)
    if words[0] not in known:
        raise UsageError(f"{prog}: there is no sub-command '{words[0]}'", hint=did_you_mean(words[0], known))
    command = known[words[0]]
    command.run(parser(words[0], prog).read(words[1:], names))


@cache
def commands() -> dict[str, Command]:
    """Return every sub-command by its name."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name != "command")
    return {name: import_module(f"{__name__}.{name}").command for name in names}


def _offered(prog: str) -> dict[str, Command]:
    return {name: known for name, known in commands().items() if prog == "%bottle" or not known.needs_session}


def parser(name: str, prog: str = "%bottle") -> Parser:
    """Return the parser of the sub-command *name*."""
    command = commands()[name]
    parser = Parser(f"{prog} {name}", command.takes, command.summary)
    command.add_arguments(parser)
    return parser


def overview(prog: str = "%bottle") -> str:
    """Return the help of `%bottle`, which `%bottle?` shows too."""
    offered = [(f"{name} {command.takes}".strip(), command.summary) for name, command in _offered(prog).items()]
    width = max(len(usage) for usage, _ in offered)
    lines = [f"  {prog} {usage:<{width}}  {summary}" for usage, summary in offered]
    after = [f"`{prog} SUB --help` shows the options of a sub-command."]
    if prog == "%bottle":
        after.append("`%%bottle NAME` runs a cell in a bottle; see `%%bottle --help`.")
    return "\n".join(["Manage bottles.", "", *lines, "", *after])
