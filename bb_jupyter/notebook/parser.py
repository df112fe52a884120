"""`argparse` for the line of a magic: it raises instead of exiting, suggests options, and takes no abbreviations."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import NoReturn

from bb_jupyter.errors import UsageError, did_you_mean
from bb_jupyter.notebook.error_display import HelpWanted
from bb_jupyter.text.tokenise import expand


class Parser(argparse.ArgumentParser):
    """Parser of one magic's words.

    Args:
        prog: the command, such as `%bottle ls`.
        takes: its arguments, such as `NAME [options]`.
        description: what the command does.
        epilog: text after the options, shown unchanged.
    """

    def __init__(self, prog: str, takes: str, description: str, epilog: str = "") -> None:
        super().__init__(
            prog=prog,
            usage=f"%(prog)s {takes}".rstrip(),
            description=description,
            epilog=epilog,
            add_help=False,
            allow_abbrev=False,
            formatter_class=_Formatter,
        )
        self.add_argument("-h", "--help", action=_Help, nargs=0, help="show this help")

    def read(self, words: Sequence[str], names: Mapping[str, object]) -> argparse.Namespace:
        """Parse *words*, and look up `{name}` in arguments and in the values of options.

        Raises:
            UsageError: the words do not fit the arguments and options.
            HelpWanted: `--help` is among the words.
        """
        args, unknown = self.parse_known_args(words)
        if unknown:
            self._refuse(unknown[0])
        expand(args, names, {action.dest: _label(action) for action in self._actions if action.nargs != 0})
        return args

    def options(self) -> dict[str, argparse.Action]:
        """Return every option string with its action."""
        return {option: action for action in self._actions for option in action.option_strings}

    def positionals(self) -> list[argparse.Action]:
        """Return the actions of positional arguments, in order."""
        return [action for action in self._actions if not action.option_strings]

    def error(self, message: str) -> NoReturn:
        """Raise the message that argparse would print before it exits.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{self.prog}: {message}", hint=f"See `{self.prog} --help`.")

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            raise UsageError(f"{self.prog}: unexpected argument '{word}'", hint=f"See `{self.prog} --help`.")
        option = word.partition("=")[0]
        near = did_you_mean(option, self.options())
        hint = near if near.startswith("Did") else f"`{self.prog} --help` lists the options."
        raise UsageError(f"{self.prog}: there is no option '{option}'", hint=hint)


def request_number(text: str) -> int:
    """Return the number of a request, which may be written with a `#`.

    Raises:
        UsageError: the text is not a number.
    """
    if not text.removeprefix("#").isdecimal() or len(text) > 13:
        raise UsageError(f"'{text}' is not the number of a request", hint="`%bottle approvals` lists the requests.")
    return int(text.removeprefix("#"))


def count(option: str, text: str) -> int:
    """Return the value of an option that takes a number from 1 on; 0 when it is empty.

    Raises:
        UsageError: the value is not such a number.
    """
    if text and not (text.isascii() and text.isdigit() and int(text)):
        raise UsageError(f"{option}: {text!r} is not a whole number from 1 on")
    return int(text or 0)


def _label(action: argparse.Action) -> str:
    return action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=100)


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *args: object, **kwargs: object) -> NoReturn:
        raise HelpWanted(parser.format_help())
