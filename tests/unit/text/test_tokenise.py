"""The line of a magic, as words."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from bb_jupyter.errors import UsageError
from bb_jupyter.text.tokenise import expand, split


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("demo --env 'A=x y'", ["demo", "--env", "A=x y"]),
        ('demo --env A="x y" ""', ["demo", "--env", "A=x y", ""]),
        ("demo # a comment's quote", ["demo"]),
        ("# only", []),
        ("demo COLOR=#fff '#quoted' a#b", ["demo", "COLOR=#fff", "#quoted", "a#b"]),
        (r"demo a\ b \'", ["demo", "a b", "'"]),
        ("  demo\t x ", ["demo", "x"]),
        ("demo $HOME {x}", ["demo", "$HOME", "{x}"]),
    ],
)
def test_split(line: str, words: list[str]) -> None:
    assert split(line) == words


@pytest.mark.parametrize("line", ["demo 'x", 'demo "x', "demo x\\"])
def test_unclosed_quotes_are_told(line: str) -> None:
    with pytest.raises(UsageError, match="quote"):
        split(line)


NAMES = {"text": "two words", "number": 3, "path": Path("/x"), "thing": object(), "_hidden": "h"}


@pytest.mark.parametrize(
    ("value", "expanded"),
    [
        ("{text}", "two words"),
        ("a{number}b{path}", "a3b/x"),
        ("{{text}}", "{text}"),
        ('{"a": {"b": 1}}', '{"a": {"b": 1}}'),
        ("{text.upper()} {1} {} { text }", "{text.upper()} {1} {} { text }"),
        ("{_hidden}", "h"),
    ],
)
def test_variables_are_looked_up(value: str, expanded: str) -> None:
    args = Namespace(env=[value], image=value, name="{text}")
    expand(args, NAMES, {"env": "--env", "image": "--image"})
    assert (args.env, args.image, args.name) == ([expanded], expanded, "{text}")


@pytest.mark.parametrize(("value", "message"), [("{txet}", "Did you mean 'text'"), ("{thing}", "is a object")])
def test_other_variables_are_refused(value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        expand(Namespace(image=value), NAMES, {"image": "--image"})
