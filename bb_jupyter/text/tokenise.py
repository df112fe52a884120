"""The command line of a magic, split into words: shell quotes, a `# comment` at the end, `{name}` in arguments."""

from __future__ import annotations

import io
import re
import shlex
from argparse import Namespace
from collections.abc import Mapping
from os import PathLike, fspath

from bb_jupyter.errors import UsageError, did_you_mean

#: `{name}` is looked up, `{{name}}` stands for `{name}`; other braces, such as those of JSON, are kept.
_BRACED = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|\{([A-Za-z_]\w*)\}")


def split(line: str) -> list[str]:
    """Return the words of a magic's line, split as a shell does; a `#` at the start of a word begins a comment.

    Raises:
        UsageError: a quote is not closed.
    """
    source = io.StringIO(line)
    lexer = shlex.shlex(source, posix=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    try:
        while not line[source.tell() :].lstrip().startswith("#"):
            word = lexer.get_token()
            if word is None:
                break
            words.append(word)
    except ValueError:
        raise UsageError(
            "a quote in the line of the magic is not closed",
            hint="Write \\' or \\\" for a quote that is part of a value.",
        ) from None
    return words


def expand(args: Namespace, names: Mapping[str, object], only: Mapping[str, str]) -> None:
    """Replace `{name}` in arguments and option values by the user's variable *name*; nothing is evaluated.

    Args:
        args: the arguments; changed in place.
        names: the user's variables.
        only: names of arguments and options for error messages, by their attribute of *args*.

    Raises:
        UsageError: there is no such variable, or it is not text, a number or a path.
    """
    for attribute, option in only.items():
        value = getattr(args, attribute)
        if isinstance(value, str):
            setattr(args, attribute, _expanded(value, names, option))
        elif isinstance(value, list):
            setattr(args, attribute, [_expanded(item, names, option) for item in value])


def _expanded(text: str, names: Mapping[str, object], option: str) -> str:
    def value(match: re.Match[str]) -> str:
        return f"{{{match[1]}}}" if match[1] else _lookup(match[2], names, option)

    return _BRACED.sub(value, text)


def _lookup(name: str, names: Mapping[str, object], option: str) -> str:
    if name not in names:
        known = [known for known in names if not known.startswith("_")]
        near = did_you_mean(name, known)
        advice = near if near.startswith("Did") else "Define it first."
        hint = f"{advice} Write {{{{{name}}}}} for the text {{{name}}}."
        raise UsageError(f"{option}: there is no variable '{name}'", hint=hint)
    value = names[name]
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, PathLike):
        return str(fspath(value))
    raise UsageError(f"{option}: variable '{name}' is a {type(value).__name__}, not text, a number or a path")
