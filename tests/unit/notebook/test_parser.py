"""The parser of a magic's line, and the options it makes."""

from __future__ import annotations

import pytest

from bb_jupyter.api import limits_of
from bb_jupyter.errors import UsageError
from bb_jupyter.notebook import commands
from bb_jupyter.notebook.complete import candidates
from bb_jupyter.notebook.error_display import HelpWanted
from bb_jupyter.notebook.options import cell_parser, environment, launch_options
from bb_jupyter.text.tokenise import split


def test_every_option_reaches_the_launch() -> None:
    line = (
        "demo -a helper -b web --backend docker --image img --allow a.org --allow b.org -e A=1 --env B= --copy x:y "
        "--cwd src --user root --memory 1g --cpus 1.5 --pids 64 --keep"
    )
    options = launch_options(cell_parser().read(split(line), {}))
    assert (options.agent, options.bottle, options.backend, options.image) == ("helper", "web", "docker", "img")
    assert (options.allow, options.env) == (("a.org", "b.org"), {"A": "1", "B": ""})
    assert (options.copy, options.cwd, options.user, options.keep) == (("x:y",), "src", "root", True)
    assert options.limits == limits_of(memory=1 << 30, cpus=1.5, pids=64)


def test_two_lines_do_not_share_their_lists() -> None:
    parser = cell_parser()
    parser.read(["demo", "-e", "A=1"], {})
    assert parser.read(["demo"], {}).env == []


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("demo --no-raise", "Did you mean '--no-raise-error'"),
        ("demo --xyzzy", "lists the options"),
        ("demo --imag=x", "there is no option '--imag'"),
        ("demo true", "unexpected argument 'true'"),
        ("", "NAME"),
    ],
)
def test_what_is_unknown_is_told(line: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        cell_parser().read(split(line), {})


def test_help_wins_over_everything_after_it() -> None:
    with pytest.raises(HelpWanted, match="--timeout TIME"):
        cell_parser().read(["--help", "--nonsense"], {})


def test_environment_takes_values_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BB_TEST_SET", "here")
    monkeypatch.delenv("BB_TEST_UNSET", raising=False)
    assert environment(["BB_TEST_SET", "A=b=c"]) == {"BB_TEST_SET": "here", "A": "b=c"}
    with pytest.raises(UsageError, match="BB_TEST_UNSET"):
        environment(["BB_TEST_UNSET"])


@pytest.mark.parametrize(
    "values", [{"memory": "1"}, {"memory": -1}, {"cpus": "x"}, {"pids": "1.5"}, {"timeout": "soon"}]
)
def test_limits_that_cannot_be_are_told(values: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(values))):
        limits_of(**values)


def test_every_sub_command_has_help() -> None:
    for name in commands.commands():
        with pytest.raises(HelpWanted, match=f"usage: %bottle {name}"):
            commands.run([name, "--help"], {})


@pytest.mark.parametrize(
    ("magic", "before", "some"),
    [
        ("%bottle", [], "cleanup"),
        ("%bottle", ["logs", "demo"], "--tail"),
        ("%%bottle", [], "--bg"),
        ("%%bottle", ["demo", "--backend"], "docker"),
        ("%%bottle_manifest", [], "--help"),
        ("%%bottle_experiment", ["parsers"], "--fresh"),
    ],
)
def test_candidates(magic: str, before: list[str], some: str) -> None:
    assert some in candidates(magic, before)


def test_no_candidates_after_an_unknown_sub_command_or_for_free_text() -> None:
    assert candidates("%bottle", ["nosuch"]) == []
    assert candidates("%%bottle", ["demo", "--image"]) == []
